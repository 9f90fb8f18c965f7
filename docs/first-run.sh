# The transcript of the README. A test runs it, with `api` and `key` set.

api=${api:-http://127.0.0.1:8000}
key=${key:-let-me-in}
call() { curl -sS --fail-with-body -H "X-API-Key: $key" -H "Content-Type: application/json" "$@"; echo; }
until_it_is() { until call "$api/v1/runs/$run" | grep -q "\"status\": *\"$1\""; do sleep 1; done; }

# A brief goes in. The answer is the id of a run.
run=$(call "$api/v1/runs/start" -d '{"project": "shorts", "brief": "a relaxing rain video"}' | grep -oE '[0-9a-f-]{36}')

# The first gate: three ideas, and what making them would cost. Nothing is spent yet.
until_it_is awaiting_ideation_approval
call "$api/v1/runs/$run"
call "$api/v1/runs/$run/approve" -d '{"gate": "ideation", "approved": true, "comment": "Looks good"}'

# The second gate: the film, and the words that would be posted with it. Nothing is published yet.
until_it_is awaiting_publish_approval
film=$(call "$api/v1/runs/$run" | grep -oE '"final_video": *\{[^}]*' | grep -oE '/v1/artifacts/[0-9a-f]{64}')
call "$api$film" -o film.mp4
call "$api/v1/runs/$run/approve" -d '{"gate": "publish", "approved": true}'

until_it_is completed
call "$api/v1/runs/$run"
