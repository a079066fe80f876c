"""What a person can do about Voicenter's codes, in a sentence each."""

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "code_rejected": "Voicenter does not know this code: copy it anew from its back office, or ask Voicenter for"
    " another one.",
    "ip_not_authorized": "Voicenter does not let this machine in, which says nothing of the code: add the address"
    ' with which the vault reaches the internet at CPanel, API Settings, "Authorized IPs".',
    "call_log_throttled": "Voicenter takes thirty requests a minute for the call log, of all programs together:"
    " it is tried again later.",
    "cannot_be_tried": "Voicenter has no call that tells whether this works: it is handed out as it was entered.",
    "login_refused": "Voicenter refuses this login: enter the token, or the e-mail address and password, anew.",
    "login_malformed": "Voicenter does not take this sort of login there: try the other login API (`stack`), or"
    " the other kind.",
}
