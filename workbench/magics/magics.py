"""`%wb`, `%%wb_gen`, `%%wb_chat` and `%%wb_program`: each parses its line, calls the session and returns the result."""

from __future__ import annotations

import argparse
import dataclasses
import json
import keyword
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Float, Int

from workbench.config import DEFAULT_MODEL, ServerArgs
from workbench.errors import UnknownParameter
from workbench.html.escape import visible
from workbench.html.parts import plural
from workbench.magics import options
from workbench.magics.live import live, loading
from workbench.magics.options import MagicUsage
from workbench.magics.session import Session
from workbench.views import Completion, Loaded, Memory, Processes, ProgramView, Status
from workbench.views.live import HELP, VIEWS

WB = options.wb_parsers()
GEN = options.gen_parser("%%wb_gen", "Continue the cell's text as it stands (its last line break does not count).")
PROGRAM = options.program_parser("%%wb_program", 'Run the cell as a program: its state is s, as in s += gen("answer").')
CHAT = options.chat_parser("%%wb_chat", "Say the cell's text in a conversation, in the model's own chat template.")


@magics_class
class WorkbenchMagics(Magics):
    """The magics of one shell. `%config WorkbenchMagics.max_new_tokens = 64` sets a default for the cells that follow."""

    max_new_tokens = Int(None, allow_none=True, help="default of --max-tokens").tag(config=True)
    temperature = Float(None, allow_none=True, help="default of --temperature").tag(config=True)
    seed = Int(None, allow_none=True, help="default of --seed").tag(config=True)

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the notebook's cells."""
        assert self.shell is not None
        return self.shell.user_ns

    @no_var_expand
    @line_magic
    def wb(self, line: str) -> object:
        name, *rest = line.strip().split(maxsplit=1) or ["help"]
        if name not in WB:
            raise MagicUsage(f"%wb has no sub-command {name!r}", hint=UnknownParameter(name, WB, where="%wb").hint)
        args = WB[name].parse("".join(rest))
        return self._view(name, args) if name in HELP else getattr(self, f"_{name}")(args)

    wb.__doc__ = options.wb_help(WB)

    @no_var_expand
    @cell_magic
    def wb_gen(self, line: str, cell: str) -> Completion | None:
        args = GEN.parse(line)
        return self._generate(args, self.session.complete, self._filled(args, cell).removesuffix("\n"))

    wb_gen.__doc__ = GEN.format_help()

    @no_var_expand
    @cell_magic
    def wb_chat(self, line: str, cell: str) -> Completion | None:
        args = CHAT.parse(line)
        talk = {"name": args.name, "new": args.new, "system": args.system}
        return self._generate(args, self.session.chat, self._filled(args, cell).strip(), **talk)

    wb_chat.__doc__ = CHAT.format_help()

    @no_var_expand
    @cell_magic
    def wb_program(self, line: str, cell: str) -> ProgramView | None:
        args = PROGRAM.parse(line)
        self._check_targets(args)
        given = {name: getattr(args, name) for name in ("max_new_tokens", "temperature", "top_p", "seed")}
        sampling = self._defaults() | {name: value for name, value in given.items() if value is not None}
        try:
            state = self.session.program(cell, self.variables, engine=args.engine, **sampling)
        except KeyboardInterrupt as interrupt:
            _shorten(interrupt, "the program is aborted")
            raise
        if args.out:
            self.variables[args.out] = state
        view = state.show()
        if args.save:
            view.save(args.save)
        return None if args.quiet else view

    wb_program.__doc__ = PROGRAM.format_help()

    # Sub-commands of %wb

    def _load(self, args: argparse.Namespace) -> Loaded:
        values = vars(args)
        name, process, model = values.pop("engine"), values.pop("process"), values.pop("model")
        if model is not None and "model_path" in values:
            raise MagicUsage(f"%wb load: two models, {model} and {values['model_path']}", hint="name one")
        values.setdefault("model_path", model or DEFAULT_MODEL)
        wanted = ServerArgs.make(**values)
        if self.session.is_loaded(wanted, name=name, process=process):
            return self.session.loaded(name, f"engine {name!r} is already running")
        progress = loading(self.shell, wanted.model_path)
        progress("starting", 0, 0)
        try:
            self.session.load(values.pop("model_path"), name=name, process=process, progress=progress, **values)
        finally:
            progress.close()
        return self.session.loaded(name, f"engine {name!r} is ready")

    def _status(self, args: argparse.Namespace) -> Status:
        return self.session.status(bandwidth=args.bandwidth)

    def _explain(self, args: argparse.Namespace) -> object:
        return self.session.explain(args.rid, engine=args.engine)

    def _evictions(self, args: argparse.Namespace) -> object:
        return self.session.engine(args.engine).cache.evictions()

    def _why(self, args: argparse.Namespace) -> object:
        if args.id and not args.token.isdecimal():
            raise MagicUsage(f"%wb why --id {args.token} is no number", hint="without --id it is the token's text")
        token = int(args.token) if args.id else options.unescape(args.token)
        return self.session.why(token, args.rid, step=args.step, engine=args.engine)

    def _memory(self, args: argparse.Namespace) -> Memory:
        return self.session.memory(args.engine)

    def _view(self, name: str, args: argparse.Namespace) -> object:
        self._check_targets(args)
        values = vars(args)
        out, save, engine, is_still, records = (values.pop(key) for key in ("out", "save", "engine", "no_view", "live"))
        if records and not str(save or "").lower().endswith(".html"):
            raise MagicUsage(f"%wb {name} --live is for a page", hint="give it a name with -T FILE.html")
        named = VIEWS[name].variables if name in VIEWS else ()
        values |= {key: self._variable(values[key]) for key in named if values[key] is not None}
        view = self.session.view(name, engine=engine, live=False if is_still else None, **values)
        if out:
            self.variables[out] = view
        if save:
            (self.session.recording(name, engine=engine, **values) if records else view).save(save)
        return view

    def _variable(self, name: str) -> Any:
        if name not in self.variables:
            raise MagicUsage(f"there is no variable {name!r}", hint="run the cell that defines it first")
        return self.variables[name]

    def _stop(self, args: argparse.Namespace) -> None:
        names = list(self.session.engines) if args.all else [self.session.resolve(args.name)]
        for name in names:
            print(f"engine {self.session.stop(name)!r} is stopped")

    def _serve(self, args: argparse.Namespace) -> None:
        values = vars(args)
        engine, stop = values.pop("engine"), values.pop("stop")
        if stop:
            print(f"engine {self.session.stop_serving(engine)!r} is served no more")
            return
        served = self.session.serve(engine, **values)
        key = " (with the key)" if served.serving.args.api_key else ""
        print(f"{served.serving.name} is served at {served.url}{key}\nclients: {served.url}/v1, a page: {served.url}/")

    def _attach(self, args: argparse.Namespace) -> None:
        attached = self.session.attach(args.url, args.api_key, name=args.engine, read_only=not args.manage)
        print(f"engine {args.engine!r} is {attached.get_server_info()['model_path']} at {attached.url}, to look into")

    def _abort(self, args: argparse.Namespace) -> None:
        self.session.abort(args.rid, engine=args.engine)
        print(f"request {visible(args.rid)} is aborted")

    def _flush(self, args: argparse.Namespace) -> None:
        print(f"{plural(self.session.flush(engine=args.engine), 'token')} dropped")

    def _ps(self, args: argparse.Namespace) -> Processes:
        return self.session.ps()

    def _models(self, args: argparse.Namespace) -> None:
        from workbench import models_cli

        models_cli.main(args)

    def _help(self, args: argparse.Namespace) -> None:
        if args.name is not None and args.name not in WB:
            raise MagicUsage(f"%wb has no sub-command {args.name!r}", hint=UnknownParameter(args.name, WB, where="%wb").hint)
        print(WB[args.name].format_help() if args.name else options.wb_help(WB))

    # Parts that cell magics share

    def _generate(self, args: argparse.Namespace, call: Callable[..., Completion], text: str, **more: Any) -> Completion | None:
        self._check_targets(args)
        show = live(self.shell, quiet=args.quiet)
        try:
            result = call(text, engine=args.engine, on_text=show.show, detail=args.detail, **more, **self._sampling(args))
        except KeyboardInterrupt as interrupt:
            show.interrupt("interrupted")
            _shorten(interrupt, "the request is aborted")
            raise
        except Exception:
            show.interrupt("failed")
            raise
        show.close()
        if args.out:
            self.variables[args.out] = result
        if args.save:
            result.save(args.save)
        shown = dataclasses.replace(result, echoed=show.echoes)
        return shown if args.give_back or not args.quiet else None

    def _sampling(self, args: argparse.Namespace) -> dict[str, Any]:
        given = options.sampling(args)
        for name in given.keys() & {"json_schema", "structural_tag"}:
            given[name] = self._json(name, given[name])
        for name in given.keys() & {"ebnf", "grammar"}:
            given[name] = self.variables.get(given[name], given[name])
        return self._defaults() | given

    def _defaults(self) -> dict[str, Any]:
        """Returns the defaults that `%config` has set."""
        values = {name: getattr(self, name) for name in self.class_own_traits(config=True)}
        return {name: value for name, value in values.items() if value is not None}

    def _json(self, name: str, text: str) -> Any:
        if text.isidentifier() and text in self.variables:
            return self.variables[text]
        try:
            json.loads(text)
        except ValueError:
            hint = "write JSON in single quotes, or the name of a dict"
            raise MagicUsage(f"--{name.replace('_', '-')} {text} is neither JSON nor a variable", hint=hint) from None
        return text

    def _filled(self, args: argparse.Namespace, cell: str) -> str:
        """Returns the cell with the values of the variables in `--var`; other braces stay."""
        for name in args.var:
            if name not in self.variables:
                raise MagicUsage(f"--var {name}: there is no such variable", hint="run the cell that defines it first")
            if f"{{{name}}}" not in cell:
                raise MagicUsage(f"--var {name}: the cell has no {{{name}}}", hint=f"write {{{name}}} where its value belongs")
        # One pass: braces inside a value stay.
        names = "|".join(map(re.escape, args.var))
        return re.sub(rf"\{{({names})\}}", lambda match: str(self.variables[match[1]]), cell) if names else cell

    def _check_targets(self, args: argparse.Namespace) -> None:
        """Raises MagicUsage for a variable or file that cannot be written, before any work is done."""
        if args.out and (not args.out.isidentifier() or keyword.iskeyword(args.out) or args.out == "__debug__"):
            raise MagicUsage(f"-o {args.out} is not a name that a variable can have", hint="for example -o answer")
        if args.save and not Path(args.save).parent.is_dir():
            raise MagicUsage(f"-T {args.save}: there is no folder {Path(args.save).parent}", hint="make it first")


def _shorten(interrupt: KeyboardInterrupt, note: str) -> None:
    """Makes the notebook show an interrupt in two lines instead of a traceback."""
    lines = [f"KeyboardInterrupt: {note}", "  the engine is alive and takes the next one"]
    interrupt._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
