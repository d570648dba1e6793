"""The same model, optimizer and matrix products in PyTorch, as a reference for `bench:gpu`.

Takes one argument, JSON: {"gemm": 4096, "models": {"small": {"config": {…}, "batch": 16, "length": 1024}},
"seconds": 3, "rounds": 5, "compile": true}. Prints one JSON object per line, after each measurement.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PRECISIONS = ("fp32", "bf16")


class Block(nn.Module):
    """A pre-norm transformer block: rotary attention and SwiGLU, each added to the residual stream."""

    def __init__(self, c):
        super().__init__()
        d, h, width = c["d_model"], c["d_ff"], c["d_model"] // c["n_heads"]
        self.width = width
        self.attn_norm, self.mlp_norm = nn.RMSNorm(d, eps=1e-5), nn.RMSNorm(d, eps=1e-5)
        self.q, self.o = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.k, self.v = (nn.Linear(d, c["n_kv_heads"] * width, bias=False) for _ in range(2))
        self.gate, self.up = nn.Linear(d, h, bias=False), nn.Linear(d, h, bias=False)
        self.down = nn.Linear(h, d, bias=False)

    def forward(self, x, cos, sin):  # x (B,T,d); cos, sin (T,D/2)
        def split(y):  # (B,T,H·D) to (B,H,T,D)
            return y.unflatten(-1, (-1, self.width)).transpose(1, 2)

        def rotate(y):
            a, b = y.chunk(2, -1)
            c, s = cos.to(y.dtype), sin.to(y.dtype)
            return torch.cat((a * c - b * s, a * s + b * c), -1)

        n = self.attn_norm(x)
        q, k, v = rotate(split(self.q(n))), rotate(split(self.k(n))), split(self.v(n))
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(z.transpose(1, 2).flatten(2))
        n = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(n)) * self.up(n))


class Reflow(nn.Module):
    """The variant `reflow`: embedding and readout share recipes over a basis of signals."""

    def __init__(self, c, length):
        super().__init__()
        V, S, d, width = c["vocab_size"], c["n_signals"], c["d_model"], c["d_model"] // c["n_heads"]
        self.recipe = nn.Parameter(torch.randn(V, S) * 0.02)
        self.basis = nn.Parameter(torch.randn(S, d) * S**-0.5)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["n_layers"]))
        self.final_norm = nn.RMSNorm(d, eps=1e-5)
        for block in self.blocks:
            for linear in (m for m in block.children() if isinstance(m, nn.Linear)):
                nn.init.normal_(linear.weight, std=0.02)
        rate = c["rope_theta"] ** (-torch.arange(0, width, 2) / width)
        angle = torch.arange(length)[:, None] * rate
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids, targets):  # (B,T) each
        x = F.embedding(ids, self.recipe) @ self.basis
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.final_norm(x) @ self.basis.T @ self.recipe.T  # (B,T,V), through the signals
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def training(config, batch, length, precision, compiled):
    """Returns a function that runs one training step."""
    torch.manual_seed(1)
    model = Reflow(config, length).to(DEVICE)
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, fused=DEVICE == "cuda")
    loss_of = torch.compile(model) if compiled else model
    tokens = torch.arange(batch * length + 1, device=DEVICE) * 7919 % config["vocab_size"]
    ids, targets = tokens[:-1].view(batch, length), tokens[1:].view(batch, length)

    def step():
        adamw.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adamw.step()
        return loss.item()

    return step


def rate(work, run, pace):
    """Returns the best rate of several samples, each at least 50 ms long between two synchronisations."""
    best, times, rounds, until = 0.0, 1, 0, None
    while rounds < pace["rounds"] or time.perf_counter() < until:
        synchronize()
        start = time.perf_counter()
        for _ in range(times):
            run()
        synchronize()
        seconds = time.perf_counter() - start
        if until is None:  # the first sample compiles
            until = time.perf_counter() + pace["seconds"]
            continue
        best = max(best, work * times / seconds)
        times = times if seconds >= 0.05 else int(times * 0.05 / seconds) + 1
        rounds += 1
    return best


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def gemm(size, precision, pace):
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.rand(size, size, device=DEVICE).sub_(0.5).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    value = rate(2 * size**3, lambda: torch.mm(a, b, out=out), pace)
    return {"value": value / 1e9, "unit": "GFLOP/s"}


def train(model, precision, pace, compiled):
    config, batch, length = model["config"], model["batch"], model["length"]
    step = training(config, batch, length, precision, compiled)
    return {"value": rate(batch * length, step, pace), "unit": "tokens/s", "batch": batch, "length": length}


def main():
    request = json.loads(sys.argv[1])
    torch.set_float32_matmul_precision("highest")  # no TF32
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    report(version=f"PyTorch {torch.__version__} on {name}")
    rows = [(f"gemm/nn/{request['gemm']}", lambda precision: gemm(request["gemm"], precision, request))]
    for name, model in request["models"].items():
        measure = lambda precision, model=model: train(model, precision, request, request["compile"])
        rows.append((f"train-step/{name}", measure))
    for name, measure in rows:
        for precision in PRECISIONS:
            try:
                report(name=name, precision=precision, **measure(precision))
            except Exception as error:  # an error in one measurement must not stop the others
                report(name=name, precision=precision, note=str(error).strip().split("\n")[0])
            torch.compiler.reset()
            if DEVICE == "cuda":
                torch.cuda.empty_cache()


def report(**values):
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
