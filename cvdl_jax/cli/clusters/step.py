"""One command of the site's tools: printed as it would be typed, or run."""

import shlex
import shutil
import subprocess
from typing import NamedTuple

from cvdl_jax.errors import UserError

END = "END_OF_COMMAND"
WHERE = {
    "sbatch": "run this on a machine of the cluster that has SLURM",
    "gcloud": "install the Google Cloud CLI (https://cloud.google.com/sdk)",
    "kubectl": "install it (gcloud components install kubectl)",
    "git": "install it",
}


class Step(NamedTuple):
    """One command of the site's tools.

    Attributes:
        words: program and arguments.
        stdin: text that the program reads; that is then what the dry run prints.
        unless: a command that succeeds where this one is not needed.
        follow: whether its output is shown as it comes instead of being returned.
    """

    words: tuple[str, ...]
    stdin: str = ""
    unless: tuple[str, ...] = ()
    follow: bool = False

    def printed(self) -> str:
        """What a shell would be given; a last argument of several lines is shown as such."""
        if self.stdin:
            return self.stdin.rstrip("\n")
        flag, given, value = self.words[-1].partition("=")
        if given and "\n" in value:
            if END in value:
                raise UserError(f"a command that holds the word {END} cannot be printed")
            return f"{shlex.join(self.words[:-1])} {flag}=\"$(cat <<'{END}'\n{value}\n{END}\n)\""
        line = shlex.join(self.words)
        return f"{shlex.join(self.unless)} > /dev/null 2>&1 ||\n  {line}" if self.unless else line

    def run(self) -> str:
        """Runs the command.

        Returns:
            What it printed, stripped; "" if it was followed or not needed.

        Raises:
            UserError: if the program is missing or fails, with what it said.
        """
        tool = self.words[0]
        if shutil.which(tool) is None:
            raise UserError(
                f"{tool} is not on the PATH; {WHERE.get(tool, 'install it')}, or print what would be submitted with "
                "--dry_run"
            )
        if self.unless and subprocess.run(self.unless, capture_output=True, check=False).returncode == 0:
            return ""
        if self.follow:
            code, out, err = subprocess.run(self.words, check=False).returncode, "", "see above"
        else:
            done = subprocess.run(self.words, input=self.stdin or None, capture_output=True, text=True, check=False)
            code, out, err = done.returncode, done.stdout.strip(), (done.stderr or done.stdout).strip()
        if code:
            raise UserError(f"{' '.join(self.words[:2])} failed with exit code {code}: {err or 'it said nothing'}")
        return out
