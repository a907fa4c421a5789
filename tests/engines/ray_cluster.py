"""Starts a Ray cluster of several nodes on this machine; ends it when its standard input ends.

  python tests/ray_cluster.py 2      # prints the dashboard's address when all is there

`python` has to be found on PATH, as in an activated environment: Ray's jobs run it.
Only what this program started is ended: `ray stop` would end all of Ray on the machine.
"""

import os
import shutil
import sys
import tempfile

# Short: sockets are in it, and their paths may have only 107 characters. Set before Ray reads it.
os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray-")

import ray
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 4, "num_gpus": 0, "object_store_memory": 80 * 2**20, "memory": 8 * 2**30}


def main(nodes: int) -> None:
    # The dashboard is what takes jobs. 0: a free port.
    head = {"include_dashboard": True, "dashboard_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args=NODE | head)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        address = ray.init(cluster.address, log_to_driver=False).address_info["webui_url"]
        ray.shutdown()
        print(f"http://{address}", flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()
        shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
