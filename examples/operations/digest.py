"""A command: the part comes in as JSON, the partial result goes out as JSON, parameters are in EBS_PARAMETERS.

Exit code 0: done. 75: not this time, try again. Any other: never; what was written to standard error is the reason.
"""
import hashlib, json, os, sys

algorithm = json.loads(os.environ["EBS_PARAMETERS"])["algorithm"]
part = json.load(sys.stdin)
if not all(isinstance(text, str) for text in part):
    sys.exit("allowed: an array of texts")
json.dump([hashlib.new(algorithm, text.encode()).hexdigest() for text in part], sys.stdout)
