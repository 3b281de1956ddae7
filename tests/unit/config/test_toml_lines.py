"""Every key and array element is found on the line it stands on, however the document is written."""

import tomllib

import pytest

from ndpresponder.config.toml_lines import locate

DOCUMENT = '''\
version = 1 # [not.a.table]
a.b."c.d" = "= [x]"
when = 1979-05-27 07:32:00
text = """
[[interface]] # no
name = "\\"""no"
""""" # two quotes belong to the text
raw = \'\'\'
key = [
\'\'\'
list = [ # first
  "one", [2, 3
  , 4], # ]
  { x = 1, y.z = [
      5] },
]

[[interface]]
name = "a"
[interface.sub]
k = 1
[[interface]]
name = "b"
[[interface.deep]]
q = 1
[[interface.deep]]
"\\u0071" = 2
[late.implied]
x = 1
[late]
y = 1
'''


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (1, ("version",)),
        (2, ("a",)),
        (2, ("a", "b", "c.d")),
        (3, ("when",)),
        (4, ("text",)),
        (8, ("raw",)),
        (11, ("list",)),
        (12, ("list", 0)),
        (12, ("list", 1)),
        (12, ("list", 1, 1)),
        (13, ("list", 1, 2)),
        (14, ("list", 2)),
        (14, ("list", 2, "y", "z")),
        (15, ("list", 2, "y", "z", 0)),
        (18, ("interface",)),
        (18, ("interface", 0)),
        (19, ("interface", 0, "name")),
        (21, ("interface", 0, "sub", "k")),
        (22, ("interface", 1)),
        (23, ("interface", 1, "name")),
        (24, ("interface", 1, "deep", 0)),
        (27, ("interface", 1, "deep", 1, "q")),
        (28, ("late", "implied")),
        (30, ("late",)),
        (31, ("late", "y")),
    ],
)
def test_a_path_is_found_on_its_line(line: int, path: tuple[str | int, ...]) -> None:
    tomllib.loads(DOCUMENT)
    assert locate(DOCUMENT)[path] == line
