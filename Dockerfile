# syntax=docker/dockerfile:1
# Built in one image, run in another: no pip cache and no source tree where the service runs.
FROM python:3.12-slim AS build
RUN python -m venv /opt/negatives
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY service ./service
RUN --mount=type=cache,target=/root/.cache/pip /opt/negatives/bin/pip install .

FROM python:3.12-slim
# A number, not a name: Kubernetes' runAsNonRoot can check only numbers.
RUN groupadd --system --gid 10001 negatives \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --create-home negatives \
    && install --directory --owner 10001 --group 10001 /data/exports /data/cache
COPY --from=build /opt/negatives /opt/negatives
# Loopback, the default, would be the container's own; who may connect is for the published ports to say.
ENV PATH=/opt/negatives/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEGATIVES_HOST=0.0.0.0
USER 10001:10001
# Where the default SQLite file goes: mount a volume here when there is no PostgreSQL.
WORKDIR /data
EXPOSE 9090
# No HEALTHCHECK: only the web role answers /health, and a worker would count as ill. docker-compose.yml has it.
ENTRYPOINT ["negatives"]
CMD ["serve"]
