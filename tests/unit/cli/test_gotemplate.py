"""Go templates: the language, Go's printing, Calico's structs, the promise that YAML comes out, and bounds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.model.documents import document
from tortie.cli.go_structs import go_list, go_object
from tortie.cli.gotemplate import Template, TemplateError, evaluate

ENDPOINT = document("WorkloadEndpoint")
ROOT: Any = [
    {
        "Items": [
            {"name": "a", "count": 1, "labels": {"y": "2", "x": "1"}, "nets": ["10.0.0.1/32", "10.0.0.2/32"]},
            {"name": "b", "count": 2, "labels": {}, "nets": [], "none": None, "on": True, "share": 0.5},
        ]
    }
]


def rendered(text: str, root: Any = ROOT) -> str:
    return Template(text, {"config"}).render(root, {"config": lambda _: "64512"})


@pytest.mark.parametrize(
    ("template", "text"),
    [
        # Documented for calicoctl.
        ("{{range .}}{{range .Items}}{{.name}}{{end}}{{end}}", "ab"),
        ('{{range .}}{{range .Items}}{{join .nets ","}} {{end}}{{end}}', "10.0.0.1/32,10.0.0.2/32  "),
        ('{{range .}}{{range .Items}}{{joinAndTruncate .nets "," 15}} {{end}}{{end}}', "10.0.0.1/32,...  "),
        ('{{config "asnumber"}}', "64512"),
        # Text, blanks and comments
        ("a {{- 1 -}} b", "a1b"),
        ("a{{/* nothing */}}b", "ab"),
        ("a {{- /* nothing\n */ -}} b", "ab"),
        ("{{`raw\\n`}}{{\"\\u0041\\x42\\103\"}}{{'A'}}", "raw\\nABC65"),
        ("{{\n1\n}}", "1"),
        # Decisions
        ("{{if true}}a{{end}}{{if false}}b{{else}}c{{end}}", "ac"),
        ("{{if eq 1 2}}a{{else if eq 1 1}}b{{else}}c{{end}}", "b"),
        ('{{with "x"}}{{.}}{{else}}y{{end}}{{with ""}}{{.}}{{else}}y{{end}}', "xy"),
        ('{{with ""}}a{{else with "b"}}{{.}}{{end}}', "b"),
        # Loops
        ("{{range $i, $e := (index . 0).Items}}{{if $i}},{{end}}{{$i}}{{$e.name}}{{end}}", "0a,1b"),
        ("{{range $e := (index . 0).Items}}{{$e.count}}{{end}}", "12"),
        ("{{range $k, $v := (index (index . 0).Items 0).labels}}{{$k}}={{$v}};{{end}}", "x=1;y=2;"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range nil}}a{{else}}none{{end}}", "none"),
        ("{{range 9}}{{if eq . 1}}{{continue}}{{end}}{{if gt . 3}}{{break}}{{end}}{{.}}{{end}}", "023"),
        # Variables
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{$n := 0}}{{range 4}}{{$n = .}}{{end}}{{$n}}", "3"),
        ("{{range .}}{{len $}}{{end}}", "1"),
        ("{{(index $ 0).Items | len}}", "2"),
        # Functions
        ("{{and 1 0 2}} {{and 1 2}} {{or 0 3}} {{or 0 false}} {{not 1}}", "0 2 3 false false"),
        ("{{if and false (index . 9)}}a{{else}}b{{end}}", "b"),
        ('{{eq 1 2 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge "b" "a"}}', "true true true true false true"),
        ('{{len "héllo"}} {{slice "abcdef" 1 3}} {{index "abc" 1}}', "6 bc 98"),
        ('{{print 1 2 "a" 3 4}}{{println "x" 1}}', "1 2a3 4x 1\n"),
        ('{{"a" | printf "%s-%s" "b"}}', "b-a"),
        ('{{printf "%5d|%-5s|%05d|%x|%q|%t|%.2f|%v|%%|%+d" 42 "ab" 7 255 "q" true 1.5 .Items 3}}', None),
        ('{{printf "%d" "x"}} {{printf "%d"}} {{printf "" 1}}', "%!d(string=x) %!d(MISSING) %!(EXTRA int=1)"),
        ('{{html "<a>"}} {{urlquery "a b&c"}}', "&lt;a&gt; a+b%26c"),
        ('{{define "t"}}<{{.}}>{{end}}{{template "t" 3}}{{block "u" 4}}({{.}}){{end}}', "<3>(4)"),
        # Go's printing
        ("{{true}} {{1e3}} {{1.5}} {{0x1f}} {{nil}}", "true 1000 1.5 31 <nil>"),
        ("{{1e5}} {{1e6}} {{1234567.5}} {{1e-5}}", "100000 1e+06 1.2345675e+06 1e-05"),
        ("{{(index (index . 0).Items 0).nets}}", "[10.0.0.1/32 10.0.0.2/32]"),
        ("{{with index (index . 0).Items 1}}{{.none}} {{.missing}} {{.missing.more}} {{.on}} {{.share}}{{end}}", None),
        ('{{index (index (index . 0).Items 0).labels "zz"}}', ""),
    ],
)
def test_what_templates_say(template: str, text: str | None) -> None:
    if "printf" in template and text is None:
        template = template.replace(".Items", "5")
        text = '   42|ab   |00007|ff|"q"|true|1.50|5|%|+3'
    elif text is None:
        text = "<nil> <no value> <no value> true 0.5"
    # Taken out of reach of YAML's own rules: a line of flow text may say anything.
    assert rendered(f"|\n {template}") == f"|\n {text}"


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{", "1:3: unclosed action"),
        ("a\n {{.x", "2:4: unclosed action"),
        ("{{range .}}", "1:12: unexpected EOF: {{range}} has no {{end}}"),
        ("{{end}}", "1:1: unexpected {{end}}"),
        ("{{if}}x{{end}}", "1:5: missing value for if"),
        ("{{nope}}", '1:3: function "nope" not defined'),
        ("{{$x}}", '1:3: undefined variable "$x"'),
        ('{{"abc}}', "1:3: unterminated quoted string"),
        ("{{(1}}", "1:5: unclosed left paren, found }}"),
        ("{{1 | 2}}", "1:7: what stands behind | must be a function"),
        ("{{break}}", "1:3: {{break}} outside {{range}}"),
        ("{{.foo}}", '1:3: executing "get" at <.foo>: can\'t evaluate field foo in type []interface {}'),
        ("{{index . 7}}", '1:3: executing "get" at <index . 7>: error calling index: index out of range: 7'),
        ("{{len 1 2}}", '1:3: executing "get" at <len 1 2>: wrong number of args for len: got 2'),
        ('{{eq 1 "a"}}', None),
        ('{{template "x"}}', '1:3: executing "get" at <template "x">: template "x" not defined'),
        ('{{config "x"}}', None),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place(template: str, sentence: str | None) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template, set()).render(ROOT, {})
    assert str(caught.value).startswith("template: get:1:" if sentence is None else f"template: get:{sentence}")
    assert "\n" not in str(caught.value)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "template",
    [
        "{{range 1000000000}}x{{end}}",
        "{{range 1000000000}}{{end}}",
        '{{define "a"}}{{template "a"}}{{end}}{{template "a"}}',
        '{{define "a"}}{{range 9}}{{template "a"}}{{end}}{{end}}{{template "a"}}',
        '{{$x := "0123456789"}}{{range 99}}{{$x = print $x $x}}{{end}}{{$x}}',
        '{{$x := printf "%1000000d" 1}}{{$x = print ' + "$x " * 100 + "}}{{print " + "$x " * 100 + "}}",
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{if 1}}" * 5000 + "{{end}}" * 5000,
        "[" * 100_000,
    ],
)
def test_no_template_runs_for_ever_or_eats_memory(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "MAX_COST", 1_000_000)
    with pytest.raises(TemplateError):
        rendered(template)


class TestStructs:
    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("{{.ObjectMeta.Name}} {{.Metadata.Name}} {{.Name}} {{.metadata.name}}", "N N N N"),
            ("{{.Kind}} {{.APIVersion}} {{.TypeMeta.Kind}}", "WorkloadEndpoint projectcalico.org/v3 WorkloadEndpoint"),
            ("{{.Spec.Node}} {{.Spec.InterfaceName}} {{.Spec.IPNetworks}}", "node-1 cali0 [10.0.0.1/32]"),
            ("{{index .ObjectMeta.Labels `app`}} {{.ObjectMeta.Labels.app}} {{.Labels.none}}", "web web <no value>"),
            # What is not set has the zero value of its type.
            ("-{{.Spec.Pod}}-{{.Spec.Ports}}-{{.Spec.AllowSpoofedSourcePrefixes}}-{{.Spec.MAC}}-", "--[]-[]--"),
            ("{{.Spec.QoSControls}}{{if .Spec.QoSControls}}a{{else}}b{{end}}", "<nil>b"),
            ("{{.Spec.FromTheFuture}}", "kept"),
        ],
    )
    def test_fields_go_by_their_names_in_go(self, template: str, text: str) -> None:
        endpoint = {
            "kind": "WorkloadEndpoint",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": "N", "labels": {"app": "web"}},
            "spec": {
                "node": "node-1",
                "interfaceName": "cali0",
                "ipNetworks": ["10.0.0.1/32"],
                "fromTheFuture": "kept",
            },
        }
        assert rendered(f"|\n {{{{range .}}}}{template}{{{{end}}}}", [go_object(endpoint)]) == f"|\n {text}"
        listed = {"kind": "WorkloadEndpointList", "metadata": {"resourceVersion": "7"}, "items": [endpoint]}
        listing = f"|\n {{{{range .}}}}{{{{.ResourceVersion}}}} {{{{range .Items}}}}{template}{{{{end}}}}{{{{end}}}}"
        assert rendered(listing, [go_list(listed)]) == f"|\n 7 {text}"

    @pytest.mark.parametrize("template", ["{{.Spec.Nope}}", "{{.Spec.BGP.ASNumber}}", "{{.Nope}}"])
    def test_what_go_refuses(self, template: str) -> None:
        node = {"kind": "Node", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "n"}, "spec": {}}
        with pytest.raises(TemplateError, match=r"can't evaluate field Nope|nil pointer evaluating ASNumber"):
            rendered(f"{{{{range .}}}}{template}{{{{end}}}}", [go_object(node)])


class TestYamlComesOut:
    @pytest.mark.parametrize(
        ("template", "value"),
        [
            ("name: {{.}}", "a"),
            ("{{.}}\n{{.}}", "10.0.0.1/32"),
            ("- {{.}}\n- {{len .}}", "fd00::1"),
            ("{{StructuralData .}}: x", "key"),
            ("{{if eq . `a: b`}}yes{{end}}", "a: b"),
        ],
    )
    def test_data_within_values(self, template: str, value: str) -> None:
        assert rendered(template, value)

    @pytest.mark.parametrize(
        ("template", "value"),
        [
            ("name: {{.}}", "a\nother: b"),
            ("{ name: {{.}} }", "a, other: b"),
            ("{{.}}", "- a"),
            ("{{.}}", "a: b: c"),
            ("{{.}}: value", "key"),
            ('name: "{{.}}"', 'a", "b'),
        ],
    )
    def test_data_that_changes_the_structure(self, template: str, value: str) -> None:
        with pytest.raises(TemplateError, match=r"^YAML Injection Detected"):
            rendered(template, value)

    @pytest.mark.parametrize("template", ["a: b: c", "{", "{{.}}: 1\n{{.}}: 2", "a: [{{.}}", "\ta: b"])
    def test_a_template_that_means_no_yaml(self, template: str) -> None:
        with pytest.raises(TemplateError, match=r"^Invalid YAML Template"):
            rendered(template, "x")


PIECES = st.sampled_from(
    [
        *("{{", "}}", "{{-", "-}}", " ", "\n", ".", ".Items", ".Spec.Node", "$", "$x", ":=", "=", "|", "(", ")", ","),
        *("range", "if", "else", "end", "with", "define", "template", "block", "break", "nil", "true", "len", "index"),
        *("printf", "print", "eq", "lt", "and", "or", "not", "slice", "join", "config", "call", "html", "js"),
        *(
            '"%d"',
            '"a"',
            "`b`",
            "'c'",
            "0",
            "1",
            "-1",
            "1.5",
            "0x",
            "1e99",
            "99999999999999999999",
            "/*",
            "*/",
            "%",
            "\\",
        ),
    ]
)


@given(st.lists(PIECES, max_size=20).map("".join) | st.lists(PIECES, max_size=20).map(" ".join) | st.text(max_size=40))
def test_no_text_is_more_than_an_error(text: str) -> None:
    for template in (text, f"{{{{{text}}}}}", f"{{{{range .}}}}{{{{{text}}}}}{{{{end}}}}"):
        with suppress(TemplateError):
            rendered(template, [go_object(ENDPOINT)])
