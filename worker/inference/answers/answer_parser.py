"""Parses one answer by the form of its model's answers, piece by piece and in linear time."""

from worker.inference.answers.call_readers import Functions, make_call_reader
from worker.inference.answers.char_reader import CharReader, NotACall, Reading
from worker.inference.answers.parts import Part, Parts, ReasoningPart, TextPart
from worker.inference.answers.values import Broken
from worker.model.rendering.answer_format import NONCHARACTERS, AnswerFormat
from worker.model.rendering.call_format import squeeze

# Special tokens that are no delimiter where they are; texts have none of them.
DROPPED = dict.fromkeys(map(ord, NONCHARACTERS))


class AnswerParser:
    """Text in, parts out; text is held back as long as it may begin something else.

    A call of a function that is not offered, or that is not in the model's form, stays text. After
    `max_calls` calls `is_done` turns true, and what follows is dropped. `is_cut` turns true if the
    rest of a call that has begun is missing. With `is_text_last` no calls follow a text, so that
    JSON may quote one. `num_openings` counts what begins calls, and `after_opening` is what was
    pushed behind the last one.
    """

    def __init__(
        self,
        format: AnswerFormat,
        functions: Functions,
        *,
        is_reasoning: bool = False,
        max_calls: int | None = None,
        is_text_last: bool = False,
    ) -> None:
        self._format = format
        self._reader = CharReader()
        self._parts = Parts()
        self._max_calls = max_calls
        self._is_text_last = is_text_last
        self._num_calls = 0
        self._has_text = False
        self.num_openings, self.after_opening = 0, ""
        self._opening = squeeze(format.calls.delimiters.opening) if format.calls else ""
        self._calls = (
            make_call_reader(format.calls, self._reader, functions, self._parts.add)
            if format.calls and functions
            else None
        )
        self._reading = self._read(is_reasoning=is_reasoning)
        self.is_done = self.is_cut = self.is_in_reasoning = False
        self._advance()

    @property
    def _is_full(self) -> bool:
        return self._max_calls is not None and self._num_calls >= self._max_calls

    def push(self, text: str) -> list[Part]:
        self._reader.push(text)
        return self._advance()

    def finish(self) -> list[Part]:
        """Return what was held back, now that no text will follow."""
        self._reader.end()
        return self._advance()

    def _advance(self) -> list[Part]:
        if not self.is_done:
            self.is_done = next(self._reading, True) is True
        return self._parts.take()

    def _read(self, *, is_reasoning: bool) -> Reading[None]:
        trim = bool(self._format.content_begin)
        if is_reasoning or (yield from self._matches(self._format.reasoning_begin)):
            yield from self._read_reasoning()
            trim = True
        if self._calls and not self._is_opening_distinct:
            self._say(TextPart, (yield from self._read_calls()) or "")
        yield from self._matches(squeeze(self._format.content_begin))
        yield from self._read_content(trim=trim)

    @property
    def _is_opening_distinct(self) -> bool:
        """True if calls are found anywhere, not only at the answer's beginning."""
        is_special = any(char in NONCHARACTERS for char in self._opening)
        return is_special or self._format.has_calls_after_content

    @property
    def _may_call(self) -> bool:
        """True if a call may begin in the text."""
        is_over = self._is_text_last and self._has_text
        return self._calls is not None and self._is_opening_distinct and not is_over

    def _matches(self, literal: str) -> Reading[bool]:
        return (yield from self._reader.try_match([literal])) is not None

    def _read_reasoning(self) -> Reading[None]:
        """Read up to the end of the reasoning; white space around it is the template's."""
        self.is_in_reasoning = True
        end = self._format.reasoning_end
        space, has_begun = "", False
        while char := (yield from self._reader.next()):
            if char.isspace():
                space += char
                continue
            if char == end[:1]:
                self._reader.back()
                if (yield from self._matches(end)):
                    self.is_in_reasoning = False
                    return
                char = yield from self._reader.next()
            self._say(ReasoningPart, (space if has_begun else "") + char)
            space, has_begun = "", True

    def _read_content(self, *, trim: bool) -> Reading[None]:
        """Read the text, and the calls in it; white space around calls is the template's."""
        space = ""
        while not self._is_full and (char := (yield from self._reader.next())):
            if char.isspace():
                space += char
                continue
            text: str | None = char
            if self._may_call and char == self._opening[0]:
                self._reader.back()
                text = yield from self._read_calls()
                if text == "":
                    text = yield from self._reader.next()
            if text is not None:
                is_trimmed = (trim or self._num_calls) and not self._has_text
                self._say(TextPart, text if is_trimmed else space + text)
            space = ""
        self._say(TextPart, "" if self._num_calls else space)

    def _read_calls(self) -> Reading[str | None]:
        """Read calls; None if there are some, else the text that was read and is none."""
        assert self._calls is not None
        self._reader.mark()
        if not (yield from self._is_opening()):
            self._reader.rewind()
            return ""
        self.num_openings += 1
        self.after_opening = self._reader.unread
        while True:
            try:
                is_followed = yield from self._calls.read()
            except (NotACall, Broken):
                if not self._reader.is_marked:
                    self._num_calls += 1
                    self.is_cut = True
                    return None
                # The last character may begin something else.
                self._reader.back()
                return self._reader.release()
            self._num_calls += 1
            if self._is_full or not is_followed:
                return None
            self._reader.mark()

    def _is_opening(self) -> Reading[bool]:
        """Read what begins calls. False if it is another text, or too long to read on trial."""
        try:
            if not self._opening:
                is_object = (yield from self._reader.skip_space()) == "{"
                self._reader.back()
                return is_object
            return (yield from self._reader.match([self._opening])) is not None
        except NotACall:
            return False

    def _say(self, kind: type[TextPart] | type[ReasoningPart], text: str) -> None:
        text = text.translate(DROPPED)
        if text:
            self._has_text = self._has_text or kind is TextPart
            self._parts.add(kind(text))
