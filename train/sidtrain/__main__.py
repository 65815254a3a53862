"""One process of a training: `torchrun --nproc-per-node 2 -m sidtrain --device canon90d`, with the verb's options."""

import os
import sys

from sidcurate.cli import main
from sidtrain import parallel

parallel.die_with_parent()
try:
    main(["finetune", *sys.argv[1:]])
except SystemExit as end:
    code = end.code if isinstance(end.code, int) else 0
sys.stdout.flush()
sys.stderr.flush()
# All is on the disk. An orderly end can abort: gloo's threads may outlive what they belong to.
os._exit(code)
