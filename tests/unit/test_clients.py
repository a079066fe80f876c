"""What is looked for in a registration before it is stored anywhere."""

import pytest

from integrations import builtin
from integrations.contract import Client, Secret
from vault.clients.clients import check
from vault.errors import Invalid

CLIENT = Client("app", Secret("canary-secret"), config_id="1234")


def test_a_setting_that_the_provider_would_not_look_at_is_refused() -> None:
    """Meta has login configurations, and Google knows nothing of them: a dry run says so, too."""
    known = builtin.providers({})
    check(CLIENT, known["whatsapp"])

    with pytest.raises(Invalid) as refused:
        check(CLIENT, known["google"])
    assert (refused.value.code, refused.value.members["field"]) == ("unknown_field", "config_id")
