"""What pages get when the site is built: formulas as MathML, and the table of the solvers' limits."""

import ast
import html
import re
from pathlib import Path

FORMULA = re.compile(r'<(span|div) class="arithmatex">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', re.DOTALL)
LIMITS = Path(__file__).parent.parent / "diffcomb" / "solvers" / "limits.py"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the table of limits where a page asks for it, a hook of MkDocs."""
    return markdown.replace("<!-- limits -->", limits_table())


def on_page_content(content: str, **_: object) -> str:
    """Replace every formula of a page, a hook of MkDocs: no script and no font has to be fetched to read them."""
    from latex2mathml.converter import convert

    def mathml(match: re.Match[str]) -> str:
        return convert(html.unescape(match[2]), display="inline" if match[1] == "span" else "block")

    return FORMULA.sub(mathml, content)


def limits_table() -> str:
    """The fields of `Limits` and `KernelLimits` with their values, and the strings behind them in the source."""
    rows = ["| limit | value | what it says |", "|---|---|---|"]
    for node in ast.parse(LIMITS.read_text()).body:
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    value = ast.unparse(field.value).replace(" ", "").replace("**", "^")
                    meaning = " ".join(ast.literal_eval(text.value).split())
                    rows.append(f"| `{field.target.id}` | {value} | {meaning} |")
    return "\n".join(rows)
