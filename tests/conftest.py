"""One thread: the tensors of the tests are small, and beside another busy process two threads wait for each other."""

import os

import torch

os.environ["OMP_NUM_THREADS"] = "1"  # of the scripts that tests start
torch.set_num_threads(1)
