"""Signatures of a result: of ``manifest.json``, which names every file's SHA-256.

They are made and checked by OpenSSH's ``ssh-keygen -Y``, in the namespace ``onnx-gap``.
"""

import shutil
import subprocess
from pathlib import Path

from analyzer.audit.result_manifest import MANIFEST
from analyzer.errors import AuditFolderError, parameter
from analyzer.measures.measure import Check

__all__ = ["NAMESPACE", "check_signature"]

NAMESPACE = "onnx-gap"
"""What a signature is for; one that the same key made for something else does not count."""

_SECONDS = 60


def check_signature(
    folder: Path, signature: Path, allowed_signers: Path, signer: str | None = None
) -> Check:
    """Whether somebody who may has signed the result in ``folder``.

    Args:
        folder: of the audit.
        signature: file that ``ssh-keygen -Y sign -n onnx-gap`` made of ``manifest.json``.
        allowed_signers: file of identities and their public keys, as ssh-keygen reads it.
        signer: the identity that must have signed; by default any that is allowed.

    Raises:
        AuditFolderError: a file is missing, or there is no ssh-keygen.
    """
    for name, path in (("signature", signature), ("allowed_signers", allowed_signers)):
        if not path.is_file():
            raise AuditFolderError(f"{parameter(name, path)} is not a file; name one that exists.")
    try:
        manifest = (folder / MANIFEST).read_bytes()
    except OSError:
        return Check("signature", False, f"There is no {MANIFEST} in {folder} to be signed.")
    files = ("-s", str(signature.resolve()), "-f", str(allowed_signers.resolve()))
    identity = signer
    if identity is None:
        found = _ssh_keygen("find-principals", *files, given=b"")
        if found.returncode or not found.stdout.strip():
            return _failed(signature, f"its key is not one of {allowed_signers}")
        identity = _text(found.stdout.splitlines()[0])
    answer = _ssh_keygen("verify", *files, "-n", NAMESPACE, "-I", identity, given=manifest)
    if answer.returncode:
        said = " ".join(_text(answer.stderr or answer.stdout).split())
        return _failed(signature, f"ssh-keygen says of {identity}: {said}")
    return Check("signature", True, f"{identity} signed {MANIFEST}.")


def _failed(signature: Path, reason: str) -> Check:
    return Check("signature", False, f"{signature} is no good signature of {MANIFEST}: {reason}.")


def _ssh_keygen(action: str, *arguments: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise AuditFolderError(
            f"ssh-keygen, which checks a {parameter('signature')}, is not installed. Install "
            "OpenSSH, or check the signature elsewhere."
        )
    try:
        return subprocess.run(
            [program, "-Y", action, *arguments],
            input=given,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise AuditFolderError(
            f"The {parameter('signature')} cannot be checked: {error}. Check it with ssh-keygen."
        ) from error


def _text(said: bytes) -> str:
    return said.decode(errors="backslashreplace").strip().rstrip(".")
