# One image for `serve`, `worker` and `sandbox`. It holds no setting, no key and no data.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN python -m venv /opt/myloware
RUN /opt/myloware/bin/pip install --quiet --no-cache-dir --no-deps -r requirements.lock
RUN /opt/myloware/bin/pip install --quiet --no-cache-dir --constraint requirements-dev.lock '.[otel]'

FROM python:3.11-slim-bookworm
# For captions in Arabic, Hebrew, Indic, Chinese, Japanese and Korean scripts, among others.
RUN apt-get update && apt-get install --yes --no-install-recommends libfribidi0 fonts-noto-core fonts-noto-cjk \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/myloware /opt/myloware
# The root may be read-only: only this folder and /tmp are written to.
RUN useradd --system --uid 10001 --home-dir /data myloware && install --directory --owner 10001 --mode 700 /data
ENV PATH=/opt/myloware/bin:$PATH MYLOWARE_DATA_DIR=/data PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["myloware"]
CMD ["serve", "--host", "0.0.0.0"]
