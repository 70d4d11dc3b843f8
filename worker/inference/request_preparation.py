"""What a request needs before it is submitted: tokens of its prompt, a grammar of its answer."""

from app.wire.completions import CompletionRequest
from app.wire.engine import ChatCompletionRequest
from worker.inference.chat_grammar import compile_chat_grammar
from worker.inference.chat_prompt import render_prompt
from worker.inference.completions import CompletionPrompt, tokenize_prompts
from worker.inference.grammar.grammar import TextRules
from worker.inference.loaded_model import LoadedModel
from worker.inference.registry import ServedCausalModel
from worker.inference.response_format import compile_response_format
from worker.model.rendering import ChatPrompt


async def prepare_chat(
    body: ChatCompletionRequest, served: ServedCausalModel, project: str
) -> tuple[ChatPrompt, TextRules | None]:
    """Render the prompt and compile the grammar, each when it is the project's turn.

    What has not begun is dropped if the caller is cancelled. Raises InvalidRequest.
    """
    prompt = await render_prompt(body, served, project)
    return prompt, await compile_chat_grammar(body, prompt, served.base, project)


async def prepare_completion(
    body: CompletionRequest, base: LoadedModel, project: str
) -> tuple[list[CompletionPrompt], TextRules | None]:
    """Tokenize the prompts and compile the grammar, each when it is the project's turn.

    What has not begun is dropped if the caller is cancelled. Raises InvalidRequest.
    """
    prompts = await tokenize_prompts(body, base, project)
    return prompts, await compile_response_format(body.response_format, base, project)
