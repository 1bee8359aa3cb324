"""The page's pure parts, asked in the browser that runs them: figures with units, and where steps are drawn."""

import pytest

from flotilla.testkit.browser_page import BrowserPage

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIGURES = [
    ("ms(340)", "340 ms"),
    ("ms(9.31)", "9.3 ms"),
    ("ms(1310)", "1.31 s"),
    ("ms(66000)", "1 min 6 s"),
    ("ms(null)", "\u2013"),
    ("ms(NaN)", "\u2013"),
    ("rate(0)", "0/s"),
    ("rate(0.05)", "3.0/min"),
    ("rate(3.81)", "3.8/s"),
    ("rate(12000)", "12,000/s"),
    ("percent(0.9962)", "99.6 %"),
    ("percent(0.99996)", "99.9 %"),
    ("percent(1)", "100 %"),
    ("percent(0)", "0 %"),
    ("usd(4.213)", "$4.21"),
    ("usd(0.0062)", "$0.0062"),
    ("usd(0.00000001)", "< $0.0001"),
    ("usd(0)", "$0"),
    ("usd(undefined)", "\u2013"),
    ("count(18422)", "18,422"),
    ("span(3725)", "1 h 2 min"),
    ("span(400000)", "4 d"),
]


async def test_figures_have_units_and_unknown_ones_are_a_dash(page: BrowserPage):
    """
    What is not quite all is never rounded up to all.
    """
    await page.go("overview")
    told = await page.page.evaluate(
        """async (asked) => {
          const format = await import('/assets/core/format.js');
          return asked.map((each) => {
            const [, name, argument] = /^([a-z]+)[(](.*)[)]$/.exec(each);
            const value = argument === 'null' ? null : argument === 'undefined' ? undefined : Number(argument);
            return format[name](value);
          });
        }""",
        [asked for asked, _ in FIGURES],
    )

    assert told == [expected for _, expected in FIGURES]


async def test_plots_say_what_is_not_known(page: BrowserPage):
    """
    Before the portal began there is no axis; while it was cut off there is a shade, and no zero; an old value is not now.
    """
    await page.go("overview")
    told = await page.page.evaluate(
        """async () => {
          const { plot, plotNote } = await import('/assets/parts/plot.js');
          const { render } = await import('/assets/core/render.js');
          const unseen = [{ from_unix_s: 1200, until_unix_s: 1500 }];
          const told = [{ from_unix_s: 1000, until_unix_s: 1100 }];
          const hour = { from_unix_s: 1000, until_unix_s: 2000, step_s: 10, unseen, told };
          const lines = [{ name: 'p95', tone: 'p95', values: [7, 7, 7, 7] }];
          const drawn = document.createElement('div');
          const at_unix_s = [1180, 1190, 1510, 1520];
          render(drawn, [plot({ title: 'X', hour, at_unix_s, lines, format: String }), plotNote(hour)]);
          const shade = drawn.querySelector('.unseen-span');
          const [begin, width] = ['x', 'width'].map((name) => Number(shade.getAttribute(name)));
          const line = drawn.querySelector('path.p95').getAttribute('d');
          const xs = line.match(/[ML]([\\d.]+)/g).map((at) => Number(at.slice(1)));
          const legend = drawn.querySelector('.legend').textContent;
          const fresh = document.createElement('div');
          render(fresh, [plotNote({ ...hour, unseen: [], told: [] })]);
          return { text: drawn.textContent, fresh: fresh.textContent, legend, begin, end: begin + width, xs, line };
        }"""
    )

    assert "This portal began" in told["fresh"]
    assert "The fleet's events reach back to" in told["text"]
    assert "and not of tokens" in told["text"]
    assert "tokens" not in told["fresh"]
    assert "now" not in told["legend"]
    before, after = [x for x in told["xs"] if x <= told["begin"]], [x for x in told["xs"] if x >= told["end"]]
    assert (2, 2) == (len(before), len(after))
    assert 2 == told["line"].count("M")


async def test_steps_stand_behind_what_they_need_and_arrows_cross_no_box(page: BrowserPage):
    """
    An arrow over several columns has a passage through each; a circle, which no pipeline has, ends somewhere.
    """
    await page.go("overview")
    layout = await page.page.evaluate(
        """async () => {
          const { arrange } = await import('/assets/parts/step_layout.js');
          const step = (name, needs) => ({ step: name, capability: 'x', status: 'ok', needs });
          return {
            chain: arrange([step('a', []), step('b', ['a']), step('c', ['b']), step('d', ['c', 'a'])]),
            circle: arrange([step('a', ['b']), step('b', ['a'])]),
            items: arrange([step('a', []), { ...step('a', []), index: 1, status: 'failed' }]),
            many: arrange(Array.from({ length: 500 }, (_, index) => step(`s${index}`, []))).boxes.length,
          };
        }"""
    )

    chain = layout["chain"]
    assert [(box["step"]["step"], box["column"]) for box in chain["boxes"]] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    long = next(arrow for arrow in chain["arrows"] if arrow["from"] == "a" and arrow["to"] == "d")
    assert len(long["points"]) == 6
    tops = {box["column"]: (box["y"], box["y"] + 104) for box in chain["boxes"]}
    passages = [long["points"][1:3], long["points"][3:5]]
    assert not any(tops[column][0] <= y <= tops[column][1] for column in (1, 2) for _, y in passages[column - 1])
    assert len(layout["circle"]["boxes"]) == 2
    assert [(box["step"]["status"], len(box["parts"])) for box in layout["items"]["boxes"]] == [("failed", 2)]
    assert layout["many"] == 64


async def test_what_changes_in_a_text_is_told_line_by_line(page: BrowserPage):
    """
    What stays is found between what changes; of texts that are too long to compare, all is told as changed.
    """
    await page.go("overview")
    told = await page.page.evaluate(
        """async () => {
          const { compared } = await import('/assets/parts/diff.js');
          const told = (before, after) => compared(before, after).map(({ sign, line }) => sign + line);
          const many = (word) => Array.from({ length: 700 }, (_, index) => `${word}${index}`).join('\\n');
          return {
            some: told('a\\nb\\nc\\nd\\n', 'a\\nx\\nc\\ny\\nd'),
            none: told('a\\n', 'a'),
            all: told('', 'a\\nb'),
            long: told(many('a'), many('b')).length,
          };
        }"""
    )

    assert told == {"some": [" a", "-b", "+x", " c", "+y", " d"], "none": [" a"], "all": ["+a", "+b"], "long": 1400}
