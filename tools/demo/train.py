"""Train, calibrate and export the demo's classifier.

    python train.py TRAIN.npz HELD.npz OUT.onnx [--epochs 20] [--seed 7]

Needs torch 2.13.0 and onnx, which orwatch itself never does. The network is small and depthwise (under 0.5 M weights),
made for one CPU thread. Targets are shares, so what cannot be told from a picture is learnt as doubt; a temperature
fitted on held-out pictures then makes the scores mean what they say. What is written looks like an Ultralytics
classification export.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import items

SIZE = 224
# Most epochs see smaller pictures: what is learnt there holds, at 0.4 of the time, and the last ones set it right.
SMALL, SMALL_SHARE = 144, 0.7
SMOOTHING = 0.012


def _conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers = [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


class Block(nn.Module):
    """An inverted residual: widen, look around depthwise, narrow."""

    def __init__(self, inside: int, outside: int, stride: int, widen: int = 3) -> None:
        super().__init__()
        wide = inside * widen
        self.body = nn.Sequential(
            _conv(inside, wide, 1), _conv(wide, wide, 3, stride, groups=wide), _conv(wide, outside, 1, act=False)
        )
        self.skip = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.skip else y


class Net(nn.Module):
    """224 x 224 RGB (0-1) to one logit per label."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(3, 24, 4, 4),
            Block(24, 40, 2, 2),
            Block(40, 40, 1),
            Block(40, 72, 2),
            Block(72, 72, 1),
            Block(72, 72, 1),
            Block(72, 112, 2),
            Block(112, 112, 1),
            _conv(112, 256, 1),
        )
        # The mean alone forgets a small thing on a large table; the maximum keeps it.
        self.head = nn.Linear(512, labels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features((x - 0.4) * 4)
        y = torch.cat([y.mean((2, 3)), y.amax((2, 3))], 1)
        return self.head(F.dropout(y, 0.1, self.training))


class Scored(nn.Module):
    """The network with its temperature and softmax: what is exported."""

    def __init__(self, net: Net, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.net(images) / self.temperature, 1)


def augment(batch: Tensor, generator: torch.Generator, size: int = SIZE) -> Tensor:
    """Random crop, flips, quarter turns, light, colour cast, noise: what a site's camera may do to a picture."""
    count, spare = len(batch), batch.shape[-1] - SIZE

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape or (count, 1, 1, 1), generator=generator) * (high - low) + low

    top, left, turns = (int(torch.randint(0, limit, (1,), generator=generator)) for limit in (spare + 1, spare + 1, 4))
    x = torch.rot90(batch[:, :, top : top + SIZE, left : left + SIZE], turns, (2, 3))
    if int(torch.randint(0, 2, (1,), generator=generator)):
        x = x.flip(3)
    if size != SIZE:
        x = F.interpolate(x, (size, size), mode="area")
    dim = torch.where(draw(0, 1) < 0.35, draw(0.16, 0.8), draw(0.85, 1.25))  # linear light
    x = x * dim ** (1 / 2.2) * draw(0.95, 1.05, count, 3, 1, 1)
    x = (x - 0.45) * draw(0.88, 1.12) + 0.45 + draw(-0.04, 0.04)
    strength = torch.where(draw(0, 1) < 0.45, draw(0.0, 0.11), draw(0.0, 0.02))
    noise = torch.randn(x.shape, generator=generator)
    if int(torch.randint(0, 2, (1,), generator=generator)):  # noise that a codec has smeared
        noise = F.avg_pool2d(noise, 3, 1, 1) * 2
    return (x + noise * strength).clamp(0, 1)


def load(path: Path) -> tuple[Tensor, Tensor]:
    """Pictures as (n, 3, h, w) uint8 and targets as (n, labels)."""
    stored = np.load(path)
    return torch.from_numpy(stored["pictures"]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(stored["targets"])


def train(
    pictures: Tensor, targets: Tensor, held: tuple[Tensor, Tensor], epochs: int, seed: int, batch: int = 48
) -> Net:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = Net(targets.shape[1]).to(memory_format=torch.channels_last)
    steps = epochs * (len(pictures) // batch)
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=3e-3
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    began = time.monotonic()
    for epoch in range(epochs):
        net.train()
        size = SMALL if epoch < epochs * SMALL_SHARE else SIZE
        order, total = torch.randperm(len(pictures), generator=generator), 0.0
        for first in range(0, len(order) - batch + 1, batch):
            chosen = order[first : first + batch]
            x = augment(pictures[chosen].float() / 255, generator, size).contiguous(memory_format=torch.channels_last)
            y = targets[chosen] * (1 - SMOOTHING) + SMOOTHING / targets.shape[1]
            if epoch < epochs * 0.7 and int(torch.randint(0, 4, (1,), generator=generator)) == 0:  # mixup
                share = float(torch.rand(1, generator=generator)) * 0.5
                x, y = x * (1 - share) + x.flip(0) * share, y * (1 - share) + y.flip(0) * share
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = net(x)
            loss = -(y * F.log_softmax(scores.float(), 1)).sum(1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        right = report(logits(net, held[0]), held[1], 1.0) if size == SIZE else f"at {size} pixels"
        spent = time.monotonic() - began
        print(f"epoch {epoch + 1}/{epochs} loss {total / len(order):.3f} {spent:.0f} s {right}", flush=True)
    return net


@torch.no_grad()
def logits(net: Net, pictures: Tensor) -> Tensor:
    net.eval()
    edge = (pictures.shape[-1] - SIZE) // 2
    square = pictures[:, :, edge : edge + SIZE, edge : edge + SIZE]
    return torch.cat([net(part.float() / 255) for part in square.split(100)])


def temperature(scores: Tensor, targets: Tensor) -> float:
    """The temperature with the least cross-entropy."""
    grid = torch.linspace(0.5, 2.0, 151)
    losses = [float(-(targets * F.log_softmax(scores / t, 1)).sum(1).mean()) for t in grid]
    return float(grid[int(np.argmin(losses))])


def report(scores: Tensor, targets: Tensor, warmth: float) -> str:
    """Accuracy where one label is clearly right, calibration error over all, and how sure it is when it is wrong."""
    shares = torch.softmax(scores / warmth, 1)
    sure, first = shares.max(1)
    worth = targets.gather(1, first[:, None])[:, 0]
    clear = targets.max(1).values > 0.97
    right = first == targets.argmax(1)
    bins = torch.clamp((sure * 15).long(), max=14)
    ece = sum(
        abs(float((sure[bins == b] - worth[bins == b]).mean())) * float((bins == b).float().mean())
        for b in range(15)
        if bool((bins == b).any())
    )
    # What would be booked wrongly: sure of a consumable that is not there, clear view or not.
    wrong = int(((worth < 0.5) & (sure >= 0.9) & (first != 0)).sum())
    accuracy, certain = float(right[clear].float().mean()), float((sure[clear] >= 0.95).float().mean())
    return f"accuracy {accuracy:.4f} ece {ece:.4f} clear>=0.95 {certain:.3f} wrong>=0.9 {wrong}/{len(scores)}"


def export(net: Net, warmth: float, path: Path) -> None:
    scored = Scored(net.to(memory_format=torch.contiguous_format), warmth).eval()
    example = torch.zeros(2, 3, SIZE, SIZE)
    torch.onnx.export(
        scored,
        (example,),
        path,
        input_names=["images"],
        output_names=["output0"],
        opset_version=18,
        dynamo=False,
        dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
    )
    model = onnx.load(path)
    names = "{" + ", ".join(f"{index}: '{name}'" for index, name in enumerate(items.LABELS)) + "}"
    facts = {
        "description": "orwatch demo classifier, trained on rendered pictures only",
        "license": "Apache-2.0",
        "task": "classify",
        "stride": "1",
        "batch": "1",
        "imgsz": f"[{SIZE}, {SIZE}]",
        "names": names,
        "background": json.dumps([items.BACKGROUND], ensure_ascii=False),
    }
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pictures, targets = load(args.train)
    held = load(args.held)
    print(f"{len(pictures)} pictures, {sum(p.numel() for p in Net(len(items.LABELS)).parameters())} weights")
    net = train(pictures, targets, held, args.epochs, args.seed)
    scores = logits(net, held[0])
    warmth = temperature(scores, held[1])
    print(f"temperature {warmth:.2f}: {report(scores, held[1], warmth)}")
    export(net, warmth, args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
