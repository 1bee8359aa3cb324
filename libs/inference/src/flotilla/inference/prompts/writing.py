"""Prompts of the capabilities that write prose from given material: summarize, synthesize and translate."""

from flotilla.contracts.capabilities import Source, SummarizeInput, SynthesizeInput, TranslateInput
from flotilla.inference.prompts.answer_bounds import REPORT_TOKENS, SUMMARY_WORDS, of_summary, of_translation
from flotilla.inference.prompts.prompt import DATA_RULE, LANGUAGE_RULE, Prompt, TextReading, ask, tagged
from flotilla.inference.prompts.text_filters import Headed, TextFilter, Trimmed

DEFAULT_SUMMARY = (
    f"Write a short paragraph: about a tenth of the document's length, and never more than {SUMMARY_WORDS} words."
)


def _summary(text: str, _filter: TextFilter) -> dict[str, str]:
    return {"summary": text}


def _report(text: str, _filter: TextFilter) -> dict[str, str]:
    return {"report": text}


def summarize(given: SummarizeInput, *, streaming: bool) -> Prompt:
    """Say what the document says, shorter."""
    del streaming
    return Prompt(
        **ask(
            [
                "You summarize documents for people who will not read them.",
                "Begin with what matters most: who wants or decided what, by when, for how much.",
                (
                    "Keep names, dates, amounts and conditions exactly as they stand. Add nothing that is not there: "
                    "no opinions, no advice, no conclusions of your own."
                ),
                LANGUAGE_RULE,
                DATA_RULE,
                "Answer with the summary alone, as plain text: no title, no introduction, no remark about the task.",
            ],
            f"Use at most {given.max_words} words." if given.max_words else DEFAULT_SUMMARY,
            f"Style: {given.style}" if given.style else "",
            tagged("document", given.document),
        ),
        reading=TextReading(make_filter=Trimmed, wrap=_summary),
        max_output_tokens=of_summary(given),
        temperature=0.2,
    )


def synthesize(given: SynthesizeInput, *, streaming: bool) -> Prompt:
    """Write one report from many sources, with the source of every statement."""
    del streaming
    sources = "\n\n".join(_source(number, source) for number, source in enumerate(given.sources, start=1))
    return Prompt(
        **ask(
            [
                "You write one report from several sources.",
                (
                    "Order it by subject, not by source. Where sources agree, say it once; where they contradict one "
                    "another, say so and who says what; where something asked for is in none of them, say that it is "
                    "missing."
                ),
                "After every statement name its sources by number in brackets, as in [1] or [2][3].",
                "Use nothing but the sources. Keep names, dates and amounts exactly as they stand.",
                LANGUAGE_RULE,
                DATA_RULE,
                "Answer with the report alone; headings and lists in Markdown where they help.",
            ],
            f"What the report is for: {given.instruction}" if given.instruction else "",
            sources,
        ),
        reading=TextReading(make_filter=Trimmed, wrap=_report),
        max_output_tokens=REPORT_TOKENS,
        temperature=0.2,
    )


def _source(number: int, source: str | Source) -> str:
    text = source if isinstance(source, str) else f"Title: {source.title}\n\n{source.text}"
    return f"Source [{number}]:\n{tagged('source', text)}"


def translate(given: TranslateInput, *, streaming: bool) -> Prompt:
    """
    Translate; a source language that was not given is asked for as the first line of the answer.

    A first line, and not a JSON property: the translation can then be streamed, and long texts do not suffer from
    being written inside a JSON string. A model that leaves the line out has still translated: the source is `und`.
    """
    del streaming
    known = given.source

    def wrap(text: str, read_by: TextFilter) -> dict[str, str]:
        return {"text": text, "source": known or (read_by.tag if isinstance(read_by, Headed) else "und")}

    form = (
        "Answer with the translation alone: no remark, no quotation marks around it."
        if known
        else "Answer in this form: in the first line nothing but the BCP 47 tag of the language of the text (such as "
        "`de` or `pt-BR`), then an empty line, then the translation alone: no remark, no quotation marks around it."
    )
    return Prompt(
        **ask(
            [
                "You are a professional translator.",
                "Translate the whole text faithfully: meaning, tone and register, with nothing added or left out.",
                (
                    "Keep line breaks, lists, markup, placeholders, code, numbers and names as they are, unless the "
                    "target language writes them otherwise."
                ),
                DATA_RULE,
                form,
            ],
            f"Translate from {known} into {given.target}." if known else f"Translate into {given.target}.",
            tagged("text", given.text),
        ),
        reading=TextReading(make_filter=Trimmed if known else Headed, wrap=wrap),
        max_output_tokens=of_translation(given),
        temperature=0.2,
    )
