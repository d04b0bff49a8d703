"""One thread for every test here: more of them on a busy machine can be a hundred times slower."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
