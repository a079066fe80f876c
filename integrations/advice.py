"""What a person can do about a code, in a sentence: for those codes whose name alone helps nobody."""

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "testing_app_expired": "Google ends the grants of an app in testing after seven days: in the Google Cloud"
    ' console, Google Auth Platform, Audience, press "Publish app", then connect again.',
    "time_limit_reached": "Access was granted for a limited time, which is over: connect again.",
    "no_refresh_token": "The provider gave access for an hour only, as it does where access was granted before:"
    " follow the link again, and it will ask for consent anew. If it does not, withdraw this app's access at the"
    " provider before.",
    "expired_or_revoked": "Access was withdrawn at the provider, was unused for six months, or ended with a"
    " password change: connect again.",
    "account_deleted": "The account does not exist at the provider any more: connect another one.",
    "invalid_rapt": "The organisation makes people sign in again after some hours: connect again, and have the"
    ' administrator trust this app (Google Admin console, Security, "Google Cloud session control").',
    "admin_policy_enforced": "The organisation's administrator blocks this app or what it asks for: have it"
    ' allowed (Google Admin console, Security, "API controls"), then connect again.',
    "org_internal": "This app is for people of its own organisation only: use an account of that organisation,"
    " or make the app external (Google Auth Platform, Audience).",
    "redirect_uri_mismatch": "The redirect address is not registered with the client: add it at the provider.",
    "deleted_client": "The client was deleted at the provider: restore it there, or register another one.",
    "key_file_malformed": "This is no JSON: enter the whole content of the key file.",
    "key_file_incomplete": "The key file lacks a part: enter the whole content as Google has made it.",
    "no_service_account": "This is a JSON file of another sort: make a key of a service account (Google Cloud"
    " console, IAM & Admin, Service Accounts, the account, Keys).",
    "private_key_malformed": "The private key cannot be read: enter it whole, as it was made.",
    "token_uri_refused": "The key file names another server than Google's: no key is sent there.",
    "invalid_jwt_signature": "The key of the service account was deleted or disabled: enter a new key file.",
    "service_account_not_found": "The service account was deleted or disabled: enter a key file of another one.",
    "subject_unknown": "The user to act for does not exist in the domain: correct it.",
    "not_delegated": "The service account may not act for this user with these scopes: add its client ID and the"
    ' scopes at Google Admin console, Security, "API controls", "Domain-wide delegation".',
    "invalid_api_key": "Resend does not know this key, or not any more: create another one at resend.com/api-keys"
    " and enter that.",
    "sending_only": "The key works, for sending alone: it cannot tell whether a sender's domain is verified."
    ' If more is needed, create a key with "Full access" at resend.com/api-keys.',
    "sender_domain_unknown": "The team has no such domain: add the domain of the sender's address at"
    " resend.com/domains, or correct the address.",
    "sender_domain_unverified": "The domain of the sender's address is not verified: set its DNS records as"
    " resend.com/domains shows them, and verify it there.",
    "sender_domain_receives_only": "Sending is switched off for the domain of the sender's address: switch it on"
    " at resend.com/domains.",
    "daily_quota_exceeded": "Resend's quota for today is used up: wait until tomorrow, or change the plan at"
    " resend.com/settings/billing.",
    "monthly_quota_exceeded": "Resend's quota for this month is used up: wait, or change the plan at"
    " resend.com/settings/billing.",
    "key_details_wrong": "Morning does not know this key ID with this secret, or has blocked its account: make"
    " another key (Settings, Developer tools, API keys) and enter both parts.",
    "key_inactive": "The API key has expired, was revoked, or still waits for its approval: look at it in Morning"
    " (Settings, Developer tools, API keys), or make another one.",
    "plan_without_api": "The subscription at Morning does not include the API, or is not active: change it to a"
    ' plan with API access ("Best" or higher), then have the key tried again. The key itself may be right.',
    "subscription_ended": "The subscription at Morning has ended: renew it, then have the key tried again.",
    "no_active_business": "The Morning account has no active business: activate one.",
    "permission_missing": "The user who made the key may not see the business: have its role changed in Morning,"
    " or make a key as another user.",
    "account_in_debt": "Morning wants a debt settled first: pay it in Morning.",
    "account_inactive": "The Morning account is not active: activate it, then have the key tried again.",
    "user_blocked": "Morning has blocked the user who made the key: ask its support, then have the key"
    " tried again.",
    "token_refused": "Morning's API refuses a token that its token endpoint has just given: the vault's"
    " TOKENVAULT_MORNING_ endpoints are of two environments, production and sandbox.",
    "code_rejected": "Voicenter does not know this code: copy it anew from its back office, or ask Voicenter for"
    " another one.",
    "ip_not_authorized": "Voicenter does not let this machine in, which says nothing of the code: add the address"
    ' with which the vault reaches the internet at CPanel, API Settings, "Authorized IPs".',
    "call_log_throttled": "Voicenter takes thirty requests a minute for the call log, of all programs together: it"
    " is tried again later.",
    "cannot_be_tried": "Voicenter has no call that tells whether this works: it is handed out as it was entered.",
    "login_refused": "Voicenter refuses this login: enter the token, or the e-mail address and password, anew.",
    "login_malformed": "Voicenter does not take this sort of login there: try the other login API (`stack`), or"
    " the other kind.",
    "clock_skew": "This machine's clock is wrong by minutes: set it right.",
    "20003": "Twilio knows no such credentials for this account and region. Take the Auth Token or a key anew at"
    " console.twilio.com, Account, API keys & tokens: the live ones, of the account that the Account SID names.",
    "20006": "The account has revoked this Connect app at Twilio: authorise it there again.",
    "20008": "These are Twilio's test credentials, which may read nothing: enter the live ones of the same page.",
    "70051": "A Restricted key of Twilio's that may not do this, or an account or key that is suspended: add the"
    " permission to the key at console.twilio.com, or enter a Standard key.",
    "account_suspended": "The account is suspended or closed at the provider: settle it there, then verify again.",
    "account_not_found": "Twilio has no account of this SID for these credentials: copy it from the page where the"
    " key was made.",
    "account_refuses_app": "The app is good, and this account refuses it: an OAuth app of Twilio's works for its"
    " own account alone, in us1, and not for subaccounts.",
    "phone_number_missing": "The account does not have this phone number: correct it, or buy or move it at"
    " console.twilio.com, Phone Numbers.",
    "phone_number_unreadable": "The key may not look at the account's phone numbers, so nobody knows whether this"
    " is one of them.",
    "invalid_client": "The provider does not know this client ID, or its secret is another: copy both anew.",
    "unauthorized_client": "The provider does not let this client get tokens in this way: allow it there, or copy"
    " the client ID of another one.",
    "secondary_exists": "The account has a secondary Auth Token already, which somebody has made: at"
    " console.twilio.com, Account, API keys & tokens, Auth Tokens, promote it or delete it.",
    "rotation_needs_auth_token": "No key of this sort may make another one: enter the account's Auth Token beside"
    " it, which is used for that alone.",
    "main_key": "A Main key is made by people only: make another one at console.twilio.com, Account, API keys &"
    " tokens, enter it, and delete this one.",
    "trunk_missing": "There is no such trunk yet, or no more: repair the connection, and it is made.",
    "trunk_ambiguous": "Several trunks have this name: enter the domain_name of the one that is meant.",
    "trunk_without_domain": "The trunk has no Termination SIP URI: give it one at console.twilio.com, Elastic SIP"
    " Trunking, the trunk, Termination; then repair the connection.",
    "password_unknown": "Twilio tells nobody the password of a username that is there: enter it, or repair the"
    " connection, which sets another one, and then whoever calls with the former one has to be told.",
    "auth_token_or_api_key_missing": "Enter an auth_token, or api_key_sid and api_key_secret.",
    "friendly_name_or_domain_name_missing": "Enter the friendly_name of the trunk, or its domain_name.",
    "wrong_password": "The mail server refuses this user name and password: correct them.",
    "app_password_required": "The mail provider takes no ordinary password from programs: make an app password"
    " there"
    " (Google: myaccount.google.com/apppasswords, which needs two-step verification), and enter"
    " that.",
    "basic_auth_disabled": "Passwords are switched off for mail programs in this organisation: its"
    " administrator has to"
    " allow SMTP AUTH for the mailbox.",
    "password_expired": "The mail server wants the password changed first: change it there, and enter the new"
    " one.",
    "auth_refused": "The mail server takes no sign-in of this sort there: look at server, port and security.",
    "auth_not_offered": "The mail server offers no way to sign in there: look at server, port and security.",
    "starttls_missing": "The mail server offers no STARTTLS at this port, and without TLS no password is sent:"
    " take"
    " port 465 with implicit TLS, or the right server.",
    "certificate_refused": "The mail server's certificate is not of this name, or nobody trusts it: take the"
    " name that"
    " the mail provider gives.",
    "address_refused": "The mail server is at an address inside a network, where the vault does not go.",
    "name_unknown": "No server of this name is known: look at the name, and at this machine's name service.",
    "tls_failed": "No TLS could be had there: look at the server's name and port (of mail servers: 465 where it is"
    " implicit, 587 for STARTTLS), and who is on the way.",
    "no_such_port": "A port is a number from 1 to 65535.",
    "mail_token_refused": "Google's mail server refuses the token of the Google connection: connect that with the"
    " scope https://mail.google.com/, as the account whose mailbox this is.",
    "not_fed": "The Google connection that gives the token is not connected, or has none that works now.",
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
    "whatsapp_permission_missing": "Generate the token anew with whatsapp_business_management"
    " and whatsapp_business_messaging, and give its user access to the account (business.facebook.com, Settings).",
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
    "ends_within_14_days": "The access ends in 14 days and is not renewed: connect again, or enter a new token.",
    "ends_within_7_days": "The access ends in 7 days and is not renewed: connect again, or enter a new token.",
    "ends_within_1_days": "The access ends within a day and is not renewed: connect again, or enter a new token.",
}
