"""Runs the tests of python-pkcs11, and prints what came of each as one line of JSON.

usage: run_tests.py DIRECTORY     with the package `tests`

Everything is imported before the first test, so that no library is loaded later than another time.
"""

import json
import re
import sys
import traceback
import unittest


class Results(unittest.TestResult):
    """Prints the results, each with where and how a test failed."""

    def say(self, test, outcome, detail=""):
        print(json.dumps({"test": test.id(), "outcome": outcome, "detail": detail}), flush=True)

    def addSuccess(self, test):
        self.say(test, "passed")

    def addFailure(self, test, error):
        self.say(test, "failed", described(error))

    def addError(self, test, error):
        self.say(test, "error", described(error))

    def addSkip(self, test, reason):
        self.say(test, "skipped", reason)

    def addExpectedFailure(self, test, error):
        self.say(test, "failed as expected", described(error))

    def addUnexpectedSuccess(self, test):
        self.say(test, "passed unexpectedly")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.addError(subtest, error)


def described(error):
    """The exception, its message, and the last line of the tests that it came through."""
    kind, exception, trace = error
    lines = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(trace) if "/tests/" in frame.filename]
    # Of a long message the first line says it. Addresses differ each time, and unittest may leave only the end of one.
    message = re.sub(r"0x[0-9a-f]+|\[\d+ chars\]\w*", "…", str(exception).partition("\n")[0])
    return f"{kind.__name__}: {message} ({lines[-1] if lines else 'not in a test'})"


directory = sys.argv[1]
tests = unittest.defaultTestLoader.discover(f"{directory}/tests", top_level_dir=directory)
tests.run(Results())
print(json.dumps({"ran": tests.countTestCases()}))
