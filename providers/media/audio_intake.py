"""Decode an audio file and store it as FLAC: the subprocess of `intake.accept_sound`."""

from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from providers.base import Json, Unusable
from providers.media import subprocess_worker
from providers.media.audio import SAMPLE_RATE, SILENCE_LUFS, AudioSamples, decode_samples, measure_loudness, to_frame

MIN_SECONDS, MAX_SECONDS = 0.2, 600
# A hostile file can open only these formats and decoders, and no other file or address.
_PCM = "pcm_u8,pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_f64le,pcm_s16be,pcm_s24be,pcm_s32be"
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "wav,mp3,mov,ogg,flac,aac,aiff,matroska",
    "codec_whitelist": f"mp3,mp3float,aac,vorbis,libvorbis,opus,libopus,flac,alac,{_PCM}",
}
_INVALID = "The file is no WAV, MP3, M4A, AAC, Ogg, FLAC or AIFF audio, or it is damaged."


def read_sound(path: Path, seconds: float | None = None) -> AudioSamples:
    """Return the audio of a file: the first `seconds`, or all. Raises Unusable, also if it is too long."""
    parts, length = [np.zeros((2, 0), np.float32)], 0
    end = round((seconds or MAX_SECONDS) * SAMPLE_RATE)
    try:
        with av.open(str(path), "r", options=_OPTIONS, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise Unusable("audio_invalid", "The file has no audio.")
            for _, samples in decode_samples(container, peak=1):
                parts.append(samples)
                length += samples.shape[1]
                if length > end:
                    break
    except (FFmpegError, ValueError) as error:
        raise Unusable("audio_invalid", _INVALID) from error
    if length > end and seconds is None:
        raise Unusable("audio_too_long", f"The audio is longer than {MAX_SECONDS} seconds.")
    return np.concatenate(parts, axis=1)[:, :end]


def write_sound(path: Path, audio: AudioSamples) -> None:
    """Write the audio to `path` as FLAC with 16 bits."""
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", SAMPLE_RATE, layout="stereo", format="s16")
        for frame in (*AudioResampler("s16", "stereo", SAMPLE_RATE).resample(to_frame(audio)), None):
            container.mux(stream.encode(frame))


def _handle_request(request: Json, _: subprocess_worker.ReportProgress) -> Json:
    audio = read_sound(Path(request["path"]))
    seconds = audio.shape[1] / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise Unusable("audio_too_short", f"The audio is shorter than {MIN_SECONDS:g} seconds.")
    write_sound(Path(request["work_dir"], "sound.flac"), audio)
    lufs = measure_loudness(audio)
    return {"seconds": round(seconds, 3), "lufs": round(lufs, 1) if lufs > SILENCE_LUFS else None}


if __name__ == "__main__":
    subprocess_worker.serve_request(_handle_request)
