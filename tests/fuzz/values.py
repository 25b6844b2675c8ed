"""Texts that people, scripts and accidents put after `key=`."""

from __future__ import annotations

from random import Random

PASSWORD = "s3cr3tWord"
"""The password in every address: no command may print it."""

NUMBERS = (
    *("0", "-1", "1", "2", "8", "64", "1_000", "007", "1e3", "0.5", "1.", ".5", "+1", "-0", "0x10", "1e400", "1e-400", "1e23"),
    *("nan", "inf", "-inf", ".inf", "NaN", "9223372036854775808", "2000000000", "9" * 400, "1/2", "1 000", "１２", "٣", "1,5"),
)
WORDS = (
    *(
        "true",
        "false",
        "null",
        "None",
        "yes",
        "off",
        "True",
        "NULL",
        "~",
        "",
        " ",
        "  a",
        "a ",
        "-",
        "--",
        ".",
        "..",
        "a",
        "a b",
    ),
    *("2025_11_29", "1e5", "smoke", "墙", "é", "e\u0301", "\u202eevil", "🙂", "a\tb", "a\nb", "a\r", "\x1b[2J", "\x07", "\x7f"),
    *("\udcff", "a" * 300, "a" * 5000, "[/b]", "$x^{$", "=cmd", "a=b", "a==", "a:b", "a#b", "#", "%s", "{0}", "a'b", 'a"b'),
    *("'a b'", '"a b"', "'a", 'a"', "''", "'", "\\", "\\'", "a\\", "a,b", ",", "a,", ",a", "a,,b", "a, b", "true,1,x"),
)
PATHS = (
    *("out", "./out", "out/", "a/b/c", "../x", "~/x", "~nobody/x", "/proc/nope", "/dev/null/x", "/dev/null"),
    *("run(1)", "a=b", "a,b", "墙 壁", "a%20b", "a?b=c", "C:\\x", "out#1", "file:///tmp/x", "conf", "card.json", "a" * 260),
)
HYDRA = (
    *("[]", "{}", "[1]", "[1,2,3]", "[a,b]", "[[1]]", "[null]", "[1,2", "1,2]", "{a:1}", "{a: 1, b: {c: 2}}", "{a", "{1:2}"),
    *("choice(1,2)", "choice(a,b)", "choice()", "range(3)", "range(1,10,3)", "range(3,1)", "range(0,1,0)", "range(1e9)"),
    *(
        "range(0,10000000000)",
        "interval(0,1)",
        "glob(*)",
        "glob([a*],exclude=b)",
        "sort(3,1,2)",
        "sort(choice(b,a),reverse=true)",
    ),
    *(
        "shuffle(1,2,3)",
        "shuffle(range(5))",
        "tag(a,choice(1,2))",
        "int(3.5)",
        "str(3)",
        "float(x)",
        "bool(1)",
        "json_str('[1]')",
    ),
    *("extend_list(1)", "[range(3)]", "choice(range(3))", "{start:5,count:2}", "{start:-1}", "{count:2}", "{start:a,count:1}"),
    *("[" * 60, "[" * 30 + "]" * 30, "{a:" * 30 + "1" + "}" * 30, "[" + "1," * 2000 + "1]", "f(x)", "(", ")", "a(b"),
)
INTERPOLATIONS = (
    *(
        "${oc.env:FUZZ_NUMBER}",
        "${oc.env:FUZZ_LIST}",
        "${oc.env:NOPE}",
        "${oc.env:NOPE,3}",
        "${oc.env:NOPE,null}",
        "${oc.env:}",
    ),
    *(
        "${seeds}",
        "${output}",
        "${name}",
        "${tasks}",
        "${..x}",
        "${.}",
        "${",
        "}",
        "$",
        "$x",
        "${}",
        "${nope}",
        "${a.b.c}",
        "???",
    ),
    *(
        "x${oc.env:FUZZ_NUMBER}y",
        "[${oc.env:FUZZ_NUMBER},2]",
        "${oc.decode:'[1,2]'}",
        "${oc.create:{a: 1}}",
        "${oc.dict.keys:tasks}",
    ),
    *(
        "${now:%Y}",
        "${hydra:runtime.cwd}",
        "${oc.deprecated:seeds}",
        "${oc.select:nope,4}",
        "${${output}}",
        "\\${output}",
        "a??b",
    ),
)
ADDRESSES = tuple(
    text.replace("PASSWORD", PASSWORD)
    for text in (
        *("http://me:PASSWORD@localhost:1/x", "postgresql://me:PASSWORD@localhost/db", "sqlite:////tmp/x?password=PASSWORD"),
        *("http://me:PASSWORD@[::1", "http://me:a PASSWORD@host", "http://me:PASSWORD\\@host", "http://:PASSWORD@host:99999"),
        *("'http://me:PASSWORD@host/a b'", "[http://me:PASSWORD@host]", "{a:http://me:PASSWORD@host}", "http://me:PASSWORD@"),
        *(
            "mysql+pymysql://me:PASSWORD@h,h2/d",
            "http://me:${oc.env:NOPE}PASSWORD@host",
            "xhttp://me:PASSWORD@host)",
        ),
    )
)
"""Addresses for keys that no command opens while nothing is planned."""

_MARKS = (
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    "=",
    ":",
    "$",
    "\\",
    "\n",
    "\t",
    "\x1b",
    " ",
    "_",
    "é",
    "0",
    "-",
    "@",
    "*",
    "%",
)


def value(random: Random, example: str) -> str:
    """A value: one of the right kind, one of another, or one with a character more, less or doubled."""
    if random.random() < 0.4:
        return example
    pools = (NUMBERS, NUMBERS, WORDS, WORDS, PATHS, HYDRA, HYDRA, INTERPOLATIONS, ADDRESSES)
    text = random.choice(random.choice(pools))
    return spoilt(text, random) if random.random() < 0.15 else text


def spoilt(text: str, random: Random) -> str:
    """The text with one change; never with NUL, which no argument can have."""
    at = random.randrange(len(text) + 1)
    match random.randrange(4):
        case 0:
            return text[:at] + random.choice(_MARKS) + text[at:]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            return text[:at] + text[max(0, at - 3) :]
        case _:
            return text[:at] + random.choice(_MARKS) + text[at + 1 :]
