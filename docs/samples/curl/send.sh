#!/bin/sh
# Sends one template message through the HTTP edge, the Cloud API's way, and asks what became of it.
#
#   WA_EDGE_TOKEN=… sh send.sh +4915112345678 4711-shipped order_update/de
#
# Prints Meta's answer, then the decision and the events so far. Exit code 0: taken; 22: refused, and the answer says why.
set -eu
edge=${EDGE:-http://127.0.0.1:8081}
number=${NUMBER:-106540352242922} # the phone number id that it leaves from
to=$1 request=$2 name=${3%/*} language=${3#*/}

# A token on the command line could be read by everybody on the machine: curl takes it from a pipe.
authorized() {
  printf 'header = "Authorization: Bearer %s"\n' "${WA_EDGE_TOKEN:?the token of your system}" | curl -sS --fail-with-body -K - "$@"
}

# The Idempotency-Key is the request id: repeat the call as often as you like, the message goes out once.
authorized "$edge/v22.0/$number/messages" -H "Idempotency-Key: $request" -H 'Content-Type: application/json' -d "{
  \"messaging_product\": \"whatsapp\", \"to\": \"$to\", \"type\": \"template\",
  \"template\": {\"name\": \"$name\", \"language\": {\"code\": \"$language\"}}}"
echo
authorized "$edge/v1/requests/$request"
echo
