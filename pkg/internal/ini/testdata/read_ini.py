"""Reads INI files as botocore does: a JSON list of base64 texts on stdin, on
stdout a JSON list of {"error": type} or {"sections": ..., "profiles": ...,
"inherited": what [DEFAULT] gives to every section}."""

import base64
import json
import os
import sys
import tempfile

import botocore.configloader
import botocore.exceptions


def read(text, path):
    try:
        with open(path, "wb") as f:
            f.write(text)
        sections = botocore.configloader.raw_config_parse(path)
        profiles = botocore.configloader.load_config(path)["profiles"]
        with open(path, "ab") as f:
            f.write(b"\n[a section without keys]\n")
        inherited = botocore.configloader.raw_config_parse(path)["a section without keys"]
    except botocore.exceptions.ConfigParseError:
        return {"error": "ConfigParseError"}
    return {"sections": sections, "profiles": profiles, "inherited": inherited}


with tempfile.TemporaryDirectory() as d:
    path = os.path.join(d, "config")
    # With --lines, a list on each line, and an answer to each as it comes.
    for lists in sys.stdin if "--lines" in sys.argv else [sys.stdin.read()]:
        print(json.dumps([read(base64.b64decode(t or ""), path) for t in json.loads(lists)]), flush=True)
