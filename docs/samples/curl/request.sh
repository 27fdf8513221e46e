#!/bin/sh
# Asks by the middleware's own form, with all that the Cloud API has no words for, and waits up to five seconds for the decision.
#
#   WA_EDGE_TOKEN=… sh request.sh +4915112345678 4711-shipped order_update/de
#
# Prints the request's decision and events. Exit code 0: taken; 22: malformed, and the answer says where.
set -eu
edge=${EDGE:-http://127.0.0.1:8081}
number=${NUMBER:-106540352242922} # the phone number id that it leaves from
to=$1 request=$2 name=${3%/*} language=${3#*/}

authorized() {
  printf 'header = "Authorization: Bearer %s"\n' "${WA_EDGE_TOKEN:?the token of your system}" | curl -sS --fail-with-body -K - "$@"
}

authorized "$edge/v1/requests" -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d "{
  \"request_id\": \"$request\", \"from\": \"$number\", \"correlation_id\": \"order-4711\", \"tags\": {\"cost_center\": \"logistics\"},
  \"max_price\": {\"amount_micros\": 60000, \"currency\": \"USD\"},
  \"message\": {\"messaging_product\": \"whatsapp\", \"to\": \"$to\", \"type\": \"template\",
                \"template\": {\"name\": \"$name\", \"language\": {\"code\": \"$language\"}}}}"
echo
