"""Plugins for DingTalk and WeCom that read from the response whether the message was refused.

Both services refuse a message (missing keyword, wrong signature, refused IP address, removed
robot) with HTTP 200 and an error code in the body. Apprise's own plugins take any 200 for a
success, and the message would be lost.

    https://open.dingtalk.com/document/robots/custom-robot-access
    https://developer.work.weixin.qq.com/document/path/91770
"""

import base64
import hashlib
import hmac
import time
from typing import Any

import requests
from apprise import NotifyFormat, NotifyType
from apprise.plugins.dingtalk import NotifyDingTalk
from apprise.plugins.wecombot import NotifyWeComBot


def _post(plugin: Any, url: str, *, params: dict[str, str], payload: dict[str, Any]) -> bool:
    """POST the message; return whether it was accepted.

    Failures are logged as apprise's plugins log them: sender_process reports what was logged.
    """
    try:
        response = requests.post(
            url,
            params=params,
            json=payload,
            headers={"User-Agent": plugin.app_id},
            verify=plugin.verify_certificate,
            timeout=plugin.request_timeout,
            allow_redirects=plugin.redirects,
        )
    except requests.RequestException as error:
        plugin.logger.warning("%s: %s", plugin.service_name, type(error).__name__)
        return False
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.ok and isinstance(answer, dict) and answer.get("errcode") == 0:
        return True
    reason = f"{answer.get('errcode')}: {answer.get('errmsg')}" if isinstance(answer, dict) else ""
    plugin.logger.warning(
        "%s refused: HTTP %s %s", plugin.service_name, response.status_code, reason[:300]
    )
    return False


class _TextPlugin:
    """Sends plain text; each subclass delivers it to its service."""

    def send(
        self,
        body: str,
        title: str = "",
        notify_type: NotifyType = NotifyType.INFO,
        body_format: NotifyFormat | None = None,
        **_: Any,
    ) -> bool:
        """Send the message; return whether it was accepted."""
        return self._deliver({"content": f"{title}\n{body}" if title else body})

    def _deliver(self, text: dict[str, str]) -> bool:
        raise NotImplementedError


class DingTalkPlugin(_TextPlugin, NotifyDingTalk):
    """Sends plain text to a custom robot of a DingTalk group."""

    def _deliver(self, text: dict[str, str]) -> bool:
        payload = {
            "msgtype": "text",
            "text": text,
            "at": {"atMobiles": self.targets, "isAtAll": False},
        }
        params = _signature(self.secret) if self.secret else {}
        return _post(self, self.notify_url.format(token=self.token), params=params, payload=payload)


def _signature(secret: str) -> dict[str, str]:
    """Sign the current time. requests URL-encodes the signature once; apprise does so twice."""
    timestamp = str(round(time.time() * 1000))
    signed = hmac.new(secret.encode(), f"{timestamp}\n{secret}".encode(), hashlib.sha256)
    return {"timestamp": timestamp, "sign": base64.b64encode(signed.digest()).decode()}


class WeComPlugin(_TextPlugin, NotifyWeComBot):
    """Sends plain text to a robot of a WeCom group."""

    def _deliver(self, text: dict[str, str]) -> bool:
        return _post(self, self.api_url, params={}, payload={"msgtype": "text", "text": text})


# Our plugin for each of apprise's that it replaces.
PLUGINS = {NotifyDingTalk: DingTalkPlugin, NotifyWeComBot: WeComPlugin}
