"""What a person can do about Google's codes, in a sentence each."""

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "testing_app_expired": "Google ends the grants of an app in testing after seven days: in the Google Cloud"
    ' console, Google Auth Platform, Audience, press "Publish app", then connect again.',
    "expired_or_revoked": "Access was withdrawn at the provider, was unused for six months, or ended with a"
    " password change: connect again.",
    "account_deleted": "The account does not exist at the provider any more: connect another one.",
    "invalid_rapt": "The organisation makes people sign in again after some hours: connect again, and have the"
    ' administrator trust this app (Google Admin console, Security, "Google Cloud session control").',
    "admin_policy_enforced": "The organisation's administrator blocks this app or what it asks for: have it"
    ' allowed (Google Admin console, Security, "API controls"), then connect again.',
    "org_internal": "This app is for people of its own organisation only: use an account of that organisation, or"
    " make the app external (Google Auth Platform, Audience).",
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
}
