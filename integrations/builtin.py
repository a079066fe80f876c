"""The providers that come with the vault."""

from collections.abc import Mapping

from integrations.contract import Provider
from integrations.endpoints import BUILT_IN, Endpoints
from integrations.google.provider import Google
from integrations.morning import Morning
from integrations.resend import Resend
from integrations.smtp import Smtp
from integrations.twilio.provider import Twilio
from integrations.vendor import Vendor
from integrations.voicenter.provider import Voicenter
from integrations.whatsapp.provider import WhatsApp

ADAPTERS: Mapping[str, type[Google] | type[Vendor]] = {
    "google": Google,
    "morning": Morning,
    "resend": Resend,
    "smtp": Smtp,
    "voicenter": Voicenter,
    "twilio": Twilio,
    "whatsapp": WhatsApp,
}


def providers(moved: Mapping[str, Endpoints]) -> dict[str, Provider]:
    """Return every built-in provider by its id, with those of its endpoints elsewhere that are *moved*."""
    return {name: make({**BUILT_IN[name], **moved.get(name, {})}) for name, make in ADAPTERS.items()}
