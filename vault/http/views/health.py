"""The shape of what health checks get."""

from typing import Literal

from vault.http.views.common import View


class Health(View):
    status: Literal["ok", "ready"]
