"""Model cards: true, and without markup of what users wrote."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from app.catalog import CatalogModel, ModelKind
from tests.worker.exporting.conftest import COMMIT, FACTS
from worker.encoding.task import EncoderTask
from worker.export_spec import ExportSpec
from worker.exporting import card
from worker.exporting.source import ExportSource

BASE = CatalogModel(
    id="acme/tiny_encoder_v2",
    source="path:/nowhere",
    kind=ModelKind.ENCODER,
    methods=("classification",),
    context_length=64,
    hub=f"acme/tiny@{COMMIT}",
    license="apache-2.0",
)
HEADINGS = ["Load it", "Base model", "Training", "Metrics", "Labels"]
HOSTILE = (
    "<script>alert(1)</script>",
    "![x](https://evil.example/pixel)",
    "a`b``c",
    "`",
    "line\n\n# A heading\n\n---\nlicense: mit",
    "\u202egnirts",
    "a | b",
    "*bold* [link](javascript:alert(1))",
    "",
    "x" * 10_000,
)


def render(
    labels: tuple[str, ...], base: CatalogModel = BASE, **facts: Any
) -> tuple[dict[str, Any], list[str], str]:
    """Render a classifier's card; return its YAML, its headings, and all of it as HTML."""
    spec = ExportSpec(
        model_name="ft:acme/tiny_encoder_v2:acme:it's *mine* & <b>:Abcd1234",
        folder_name="tiny",
        format="onnx",
        model=base.to_json(),
        model_cache="/nowhere",
        facts={**FACTS, "method": "classification", **facts},
    )
    source = ExportSource(spec, base, Path("/nowhere"), Path("/nowhere"))
    task = EncoderTask(method="classification", labels=labels, max_length=64)
    source.__dict__["task"] = task
    text = card.render(source, Path("/nowhere"), "Run FOLDER.")
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    headings = [
        following.content for token, following in pairwise(tokens) if token.type == "heading_open"
    ]
    html: str = MarkdownIt("commonmark").enable("table").render(body)
    return yaml.safe_load(front), headings, html


def test_the_hub_reads_the_front_matter() -> None:
    front, headings, html = render(("a", "b"))
    assert front == {
        "library_name": "onnx",
        "pipeline_tag": "text-classification",
        "license": "apache-2.0",
        "base_model": "acme/tiny",
        "base_model_relation": "finetune",
    }
    assert headings[1:] == HEADINGS
    assert "<p>Labels: <code>a</code>, <code>b</code>.</p>" in html


def test_a75_what_users_wrote_is_no_markup() -> None:
    """Labels, the suffix of the model's name, hyperparameters that are texts."""
    front, headings, html = render(
        HOSTILE,
        hyperparameters={f"h{number}": text for number, text in enumerate(HOSTILE)},
        start_model=HOSTILE[0],
    )
    assert front["license"] == "apache-2.0"
    assert headings[1:] == HEADINGS
    for tag in ("<script", "<img", "<em", "<strong", "<b>", 'javascript:alert(1)"'):
        assert tag not in html, tag
    assert html.count("<a href=") == 2, "onnxruntime.ai and the base on the hub"
    assert "\u202e" not in html
    assert len(html) < 10_000
    cells = [line.count("<td>") for line in html.split("<tr>")[1:]]
    assert set(cells) <= {0, 2}, "a bar does not make further cells"


@pytest.mark.parametrize("licence", ["mit\nlibrary_name: evil", "a: [b", "---\n# x", "yes"])
def test_a75_a_licence_is_one_text_in_the_front_matter(licence: str) -> None:
    front, headings, _ = render(("a",), replace(BASE, license=licence))
    assert front["license"] == licence
    assert front["library_name"] == "onnx"
    assert headings[1:] == HEADINGS


def test_results_of_the_test_file_stand_beside_the_base_models() -> None:
    tuned, base = {"exact_match": 0.75, "bleu": 31.5}, {"exact_match": 0.25, "bleu": 3.0}
    results = {"rows": 40, "measured_rows": 38, "tuned": tuned, "base": base}
    _, headings, html = render(("a",), test_results=results)
    assert "Test file" in headings
    assert "<code>exact_match</code> of this model</td>\n<td>0.75" in html
    assert "<code>exact_match</code> of the base model</td>\n<td>0.25" in html
    assert "on 38 of 40 rows of a file" in html
    _, _, html = render(("a",), test_results={"rows": 4, "accuracy": 0.5})
    assert "<code>accuracy</code></td>\n<td>0.5" in html


def test_of_thousands_of_labels_the_first_are_named() -> None:
    _, _, html = render(tuple(f"label-{number}" for number in range(10_000)))
    assert "<code>label-99</code>, and 9900 more." in html


def test_evals_are_shown_beside_the_base_model() -> None:
    rate = {"items": 50, "base": 0.3, "tuned": 0.42, "difference": 0.12, "interval": [0.02, 0.2]}
    evaluations = [
        {"eval_id": "eval_a", "name": "*tickets*", "result": {"pass_rate": rate}},
        {"eval_id": "eval_b", "name": "", "result": None},
    ]
    _, headings, html = render(("a", "b"), evaluations=evaluations)
    assert "Evals" in headings
    assert "<code>*tickets*</code>" in html
    assert "42.0% of 50 items pass, of the base model 30.0% (+2.0% to +20.0%)" in html
    assert "eval_b" not in html
