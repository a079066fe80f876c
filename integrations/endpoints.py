"""Where the built-in providers are, by provider and endpoint: data alone, for settings to be read by.

Each may be moved by `TOKENVAULT_{PROVIDER}_{ENDPOINT}`. Sources: Google's discovery document
(`https://accounts.google.com/.well-known/openid-configuration`), Twilio's OpenAPI descriptions
(`https://github.com/twilio/twilio-oai`).
"""

from collections.abc import Mapping

Endpoints = Mapping[str, str]

GOOGLE: Endpoints = {
    "authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth",
    "token_endpoint": "https://oauth2.googleapis.com/token",
    "revocation_endpoint": "https://oauth2.googleapis.com/revoke",
    "userinfo_endpoint": "https://openidconnect.googleapis.com/v1/userinfo",
    "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs",
    "tokeninfo_endpoint": "https://oauth2.googleapis.com/tokeninfo",
}

MORNING: Endpoints = {
    "token_endpoint": "https://api.morning.co/idp/v1/oauth/token",
    "api_url": "https://api.greeninvoice.co.il/api/v1",
    "legacy_token_endpoint": "",  # where it is set, instead of the other one
}

VOICENTER: Endpoints = {
    "call_log_url": "https://api.voicenter.com/hub/cdr/",
    "monitor_login_url": "https://loginapi.voicenter.co.il/monitorAPI/Login",
    "monitor_refresh_url": "https://loginapi.voicenter.co.il/monitorAPI/RefreshIdentityToken",
    "login_url": "https://loginapi.voicenter.com/Auth/Login/Voicenter/Monitor",
    "refresh_url": "https://loginapi.voicenter.com/Auth/RefreshToken",
    "settings_url": "https://loginapi.voicenter.com/Application/GetSettings",
}

TWILIO: Endpoints = {
    "api_url": "https://api.twilio.com",
    "accounts_url": "https://accounts.twilio.com",
    "trunking_url": "https://trunking.twilio.com",
    "oauth_url": "https://oauth.twilio.com",
    "iam_url": "https://iam.twilio.com",
}

BUILT_IN: Mapping[str, Endpoints] = {
    "google": GOOGLE,
    "morning": MORNING,
    "resend": {"api_url": "https://api.resend.com"},
    "smtp": {"google_mail_host": "smtp.gmail.com"},  # other mailboxes have servers of their own
    "voicenter": VOICENTER,
    "twilio": TWILIO,
    "whatsapp": {
        "dialog_url": "https://www.facebook.com/v25.0/dialog/oauth",
        "graph_url": "https://graph.facebook.com/v25.0",
    },
}


def setting(provider: str, endpoint: str) -> str:
    """Return the name of the setting that moves *endpoint* of *provider*."""
    return f"TOKENVAULT_{provider}_{endpoint}".upper()
