#!/bin/sh
# Plays Meta: the handshake that Meta does once, then one message of a customer, signed as Meta signs it.
#
#   WA_APP_SECRET=… WA_VERIFY_TOKEN=… sh webhook.sh [text]
#
# Prints the id of the message. Exit code 0: taken; else curl's (22: refused).
set -eu
ingress=${INGRESS:-http://127.0.0.1:8080}
text=${1:-Where is my parcel?}

# Meta asks with a challenge, and the door answers with it if the verify token is right.
challenge=$(openssl rand -hex 8)
answer=$(curl -fsS -G "$ingress/webhooks" -d hub.mode=subscribe -d hub.challenge="$challenge" \
  --data-urlencode hub.verify_token="${WA_VERIFY_TOKEN:-local-verify-token}")
[ "$answer" = "$challenge" ]

# The signature is an HMAC-SHA256 over the body's very bytes: sign what is sent, never what was parsed and written anew.
id=wamid.$(openssl rand -hex 12)
body=$(cat <<EOF
{"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [{"field": "messages", "value": {
  "messaging_product": "whatsapp", "metadata": {"display_phone_number": "15550100101", "phone_number_id": "106540352242922"},
  "contacts": [{"profile": {"name": "Anna"}, "wa_id": "4915112345678"}],
  "messages": [{"from": "4915112345678", "id": "$id", "timestamp": "$(date +%s)", "type": "text", "text": {"body": "$text"}}]}}]}]}
EOF
)
signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "${WA_APP_SECRET:-simulator-secret}" | sed 's/^.* //')
printf %s "$body" | curl -fsS "$ingress/webhooks" -H 'Content-Type: application/json' \
  -H "X-Hub-Signature-256: sha256=$signature" --data-binary @-
echo "$id"
