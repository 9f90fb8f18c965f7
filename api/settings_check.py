"""Check the settings together with the files that they name, before anything is opened."""

from datetime import UTC, datetime
from typing import NamedTuple

from api.settings import Settings
from api.settings_types import SettingsError, VideoServer
from prompts.project import Project, ProjectError
from providers.video_profiles import ProfileError


class CheckedSettings(NamedTuple):
    """The projects and the video server, read and checked before anything is opened."""

    projects: dict[str, Project]
    video: VideoServer


def check_settings(settings: Settings) -> CheckedSettings:
    """Read the files that the settings name. Raises SettingsError naming the file or variable."""
    try:
        projects = settings.projects()
        server = settings.video(datetime.now(UTC).date())
    except (ProjectError, ProfileError) as error:
        raise SettingsError(str(error)) from error
    for project in projects.values():
        try:
            server.video.check(project.clip_seconds, project.clip_size)
        except ProfileError as error:
            raise SettingsError(f"{project.name}.md: {error.message}") from error
        if not settings.notify_escalate_urls and any(gate.on_due == "escalate" for gate in project.gates.values()):
            raise SettingsError(f"{project.name}.md: a gate escalates, but MYLOWARE_NOTIFY_ESCALATE_URLS is not set.")
    return CheckedSettings(projects, server)
