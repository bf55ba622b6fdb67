"""DingTalk's and WeCom's robots, which refuse a message with HTTP 200 and say so in the answer.

Apprise takes any 200 for a success, so that what a robot refuses (a keyword that is missing, a
signature, an address, a robot that was removed) would be lost. These read the answer.

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
    """Send it; what goes wrong is logged as apprise's services do, which is how it is told."""
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
    said = f"{answer.get('errcode')}: {answer.get('errmsg')}" if isinstance(answer, dict) else ""
    plugin.logger.warning(
        "%s refused: HTTP %s %s", plugin.service_name, response.status_code, said[:300]
    )
    return False


class _TextPlugin:
    """Sends plain text; where and as what is for the robot's own class to say."""

    def send(
        self,
        body: str,
        title: str = "",
        notify_type: NotifyType = NotifyType.INFO,
        body_format: NotifyFormat | None = None,
        **_: Any,
    ) -> bool:
        """Whether it was taken."""
        return self._deliver({"content": f"{title}\n{body}" if title else body})

    def _deliver(self, text: dict[str, str]) -> bool:
        raise NotImplementedError


class DingTalkPlugin(_TextPlugin, NotifyDingTalk):
    """A custom robot of a DingTalk group, plain text."""

    def _deliver(self, text: dict[str, str]) -> bool:
        payload = {
            "msgtype": "text",
            "text": text,
            "at": {"atMobiles": self.targets, "isAtAll": False},
        }
        params = _signature(self.secret) if self.secret else {}
        return _post(self, self.notify_url.format(token=self.token), params=params, payload=payload)


def _signature(secret: str) -> dict[str, str]:
    """Of the moment. Encoded for the URL once, by requests; apprise does so twice."""
    timestamp = str(round(time.time() * 1000))
    signed = hmac.new(secret.encode(), f"{timestamp}\n{secret}".encode(), hashlib.sha256)
    return {"timestamp": timestamp, "sign": base64.b64encode(signed.digest()).decode()}


class WeComPlugin(_TextPlugin, NotifyWeComBot):
    """A robot of a WeCom group, plain text."""

    def _deliver(self, text: dict[str, str]) -> bool:
        return _post(self, self.api_url, params={}, payload={"msgtype": "text", "text": text})


PLUGINS = {NotifyDingTalk: DingTalkPlugin, NotifyWeComBot: WeComPlugin}
