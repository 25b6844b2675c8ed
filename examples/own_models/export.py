"""Write a model as archives of torch.jit and torch.export, each with its signature: `python export.py FOLDER`."""

import sys
import warnings
from pathlib import Path

import torch


class Step(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.friction, self.push = torch.nn.Parameter(torch.tensor(0.95)), torch.nn.Parameter(torch.tensor(0.02))

    def forward(self, states, actions):  # [n, 1, 4], [n, 1, 2] -> [n, 4]
        velocity = self.friction * states[:, -1, 2:] + self.push * actions[:, -1]
        return torch.cat([states[:, -1, :2] + velocity, velocity], 1)


def main(folder: Path):
    """Write the same step as both kinds of archive, each with its signature."""
    inputs = torch.zeros(3, 1, 4), torch.zeros(3, 1, 2)
    rows = torch.export.Dim("rows")
    program = torch.export.export(Step().eval(), inputs, dynamic_shapes=({0: rows}, {0: rows}))
    torch.export.save(program, folder / "exported.pt2")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.save(torch.jit.trace(Step().eval(), inputs), str(folder / "script.pt"))
    for name in ("exported.yaml", "script.yaml"):
        (folder / name).write_text("state: [4]\naction: 2\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
