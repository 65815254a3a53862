"""One process of a training: `torchrun --nproc-per-node 2 -m sidtrain --device canon90d`, with the verb's options."""

import sys

from sidcurate.cli import main
from sidtrain.training import launching

launching.die_with_parent()
main(["finetune", *sys.argv[1:]])
