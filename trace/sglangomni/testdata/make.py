"""Writes events as SGLang-Omni's recorder does (json.dumps of an event's fields, a line each): two requests on their
way through thinker, talker and code2wav, of which the last two share a process. Run it in this directory."""

import json

T0 = 1_790_000_000_000_000_000
MS = 1_000_000


def event(ms, request, stage, name, pid, **metadata):
    return {
        "request_id": request,
        "stage": stage,
        "event_name": name,
        "timestamp_ns": T0 + int(ms * MS),
        "run_id": "run-1",
        "pid": pid,
        "metadata": metadata,
    }


thinker, speech = [], []
for i, request in enumerate(("req-a", "req-b")):
    at = 7.5 * i

    def think(ms, name, **metadata):
        thinker.append(event(at + ms, request, "thinker", name, 100, **metadata))

    def talk(ms, name, **metadata):
        speech.append(event(at + ms, request, "talker", name, 200, **metadata))

    def sound(ms, name, **metadata):
        speech.append(event(at + ms, request, "code2wav", name, 200, **metadata))

    think(0, "request_admission")
    think(0.1, "stage_input_received", from_stage="coordinator")
    think(0.2, "preprocess_start")
    think(1.2, "preprocess_end", prompt_tokens=37)
    think(1.3, "scheduler_queue_enter")
    think(2, "scheduler_prefill_start")
    think(12, "scheduler_first_emit")
    think(12.1, "stage_first_stream_chunk_sent", to_stage="talker")
    think(12.1, "stage_stream_chunk_sent", to_stage="talker", chunk_id=0, modality="hidden")
    think(30, "stage_stream_chunk_sent", to_stage="talker", chunk_id=1, modality="hidden")
    think(31, "stage_hop_sent", to_stage="talker")
    think(31.1, "stage_complete")
    talk(12.6, "stage_stream_chunk_received", from_stage="thinker", chunk_id=0, modality="hidden")
    talk(12.7, "stage_input_received", from_stage="thinker")
    talk(12.8, "scheduler_queue_enter")
    talk(13, "scheduler_prefill_start")
    talk(17, "scheduler_first_emit")
    talk(20, "stage_stream_chunk_sent", to_stage="code2wav", chunk_id=0, modality="codes")
    talk(30.4, "stage_stream_chunk_received", from_stage="thinker", chunk_id=1, modality="hidden")
    talk(41, "stage_complete")
    sound(20.3, "stage_stream_chunk_received", from_stage="talker", chunk_id=0, modality="codes")
    sound(20.4, "stage_input_received", from_stage="talker")
    sound(21, "code2wav_decode_start", batch=1)
    sound(21.2, "code2wav_decode_launched")
    sound(26, "code2wav_decode_end")
    sound(26.1, "code2wav_first_audio")
    if i == 0:
        sound(27, "stage_complete")  # the other goes on when the file ends
        sound(27.1, "terminal_response")

for name, events in (("events_thinker_100.jsonl", thinker), ("events_talker_200.jsonl", speech)):
    events.sort(key=lambda e: e["timestamp_ns"])
    with open(name, "w", encoding="utf-8") as out:
        for e in events:
            out.write(json.dumps(e) + "\n")
