"""The package transformers in a thread, while another one imports it."""

import subprocess
import sys

SCRIPT = """
import sys, threading, time

threading.Thread(target=__import__, args=("transformers",)).start()
while "transformers" not in sys.modules:
    time.sleep(0.0001)
from workbench.text.hf import transformers

assert transformers().PreTrainedTokenizerFast
"""


def test_a_thread_that_waits_for_anothers_import_has_every_name():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=120)
