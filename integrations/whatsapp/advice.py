"""What a person can do about Meta's codes, in a sentence each."""

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "app_refused": "Meta refuses the app that is registered here: copy its ID and secret anew"
    " (developers.facebook.com, the app, App settings, Basic), and see whether the app is restricted there.",
    "app_unknown": "Meta does not know this app: copy the app ID anew (developers.facebook.com, the app, App"
    " settings, Basic), and register it again.",
    "client_secret_invalid": "The app secret is another one, or was reset: copy it anew (developers.facebook.com,"
    " the app, App settings, Basic), and register it again.",
    "appsecret_proof_refused": "The app secret is not of the app that the token was made for: copy it anew"
    " (developers.facebook.com, the app, App settings, Basic), and register it again.",
    "app_secret_missing": "The app is registered without its secret: register it with that, too.",
    "not_authenticated": "Meta could not tell whose token this is: connect again, or generate a new one.",
    "app_removed": "The person removed the app, or took its access back (Facebook settings, Apps and websites):"
    " connect again.",
    "app_reinstalled": "The app was removed and added again: connect again.",
    "checkpoint": "Facebook wants the person to confirm who they are: log in at facebook.com, then connect again.",
    "code_expired": "The code of the login was older than 30 seconds: begin again.",
    "code_not_exchanged": "Meta could not be asked while the code was good: sign up again.",
    "code_used": "The code was used already: begin again.",
    "data_access_expired": "The person let the app see their data for 90 days, which are over: connect again.",
    "logged_out": "The person logged out, or Meta ended the session: connect again.",
    "other_app": "The token was made for another app: generate one for the app that is registered here.",
    "page_role_lost": "The person has no role any more at the page or business: give it back, then connect again.",
    "password_changed": "The password was changed, or Meta ended all sessions for safety: connect again.",
    "whatsapp_permission_missing": "Generate the token anew with whatsapp_business_management and"
    " whatsapp_business_messaging, and give its user access to the account (business.facebook.com, Settings).",
    "policy_block": "Meta has blocked the app or business for some time: see Account quality there.",
    "session_stale": "Meta ended the session: connect again.",
    "token_expired": "The token was not renewed before it ended: connect again, or enter a new one. A system"
    " user's can be made to never end (business.facebook.com, Settings, System users).",
    "token_invalid": "Meta does not know the token any more: connect again, or generate a new one. A reset of the"
    " app secret ends all tokens of the app.",
    "token_revoked": "The token was revoked at Meta: connect again, or generate a new one.",
    "token_unused": "The token was unused for too long: connect again.",
    "user_invalid": "The Facebook user does not exist any more: connect as another one.",
    "user_unconfirmed": "The Facebook user has not confirmed their account: do that at facebook.com, then connect"
    " again.",
}
