"""Create the pictures of the README from a real run: `docs/demo.svg` and `docs/film.jpg`."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
WIDTH = 96


def main() -> None:
    """Run `myloware make`, and save the terminal output and one frame."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **{"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"},
        }
        myloware = Path(sys.executable).parent / "myloware"
        result = subprocess.run(  # noqa: S603 - our own program
            [myloware, "make", "a relaxing rain video", "--yes"],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        *lines, film = result.stdout.rstrip().splitlines()
        _draw(["$ make demo", *lines, film.replace(f"{Path(folder).resolve()}/", "")])
        with av.open(film) as container:
            stream = container.streams.video[0]
            container.seek(int(3 / stream.time_base), stream=stream)
            frame = next(frame for frame in container.decode(stream) if frame.time is not None and frame.time >= 3)
            frame.to_image().resize((360, 640)).save(HERE / "film.jpg", quality=82)


def _draw(lines: list[str]) -> None:
    console = Console(record=True, width=WIDTH, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    for line in lines:
        # Remove cursor movements and overwritten lines.
        console.print(Text.from_ansi(re.sub(r"\x1b\[[?\d;]*[A-Zhl]", "", line)), soft_wrap=True)
    drawn = console.export_svg(title="MyloWare")
    # Do not load a web font.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<!-- Generated.*?-->\s*", "", drawn).replace("Fira Code, monospace", "ui-monospace, monospace")
    (HERE / "demo.svg").write_text(drawn)


if __name__ == "__main__":
    main()
