"""What a person can do about Twilio's codes, in a sentence each."""

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "20003": "Twilio knows no such credentials for this account and region. Take the Auth Token or a key anew at"
    " console.twilio.com, Account, API keys & tokens: the live ones, of the account that the Account SID names.",
    "20006": "The account has revoked this Connect app at Twilio: authorise it there again.",
    "20008": "These are Twilio's test credentials, which may read nothing: enter the live ones of the same page.",
    "70051": "A Restricted key of Twilio's that may not do this, or an account or key that is suspended: add the"
    " permission to the key at console.twilio.com, or enter a Standard key.",
    "account_not_found": "Twilio has no account of this SID for these credentials: copy it from the page where"
    " the key was made.",
    "account_refuses_app": "The app is good, and this account refuses it: an OAuth app of Twilio's works for its"
    " own account alone, in us1, and not for subaccounts.",
    "phone_number_missing": "The account does not have this phone number: correct it, or buy or move it at"
    " console.twilio.com, Phone Numbers.",
    "phone_number_unreadable": "The key may not look at the account's phone numbers, so nobody knows whether this"
    " is one of them.",
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
}
