"""Explains why a running fusion node publishes no fused image, or only one camera's, and what to do."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from mmcfusion_ros.stream.pairing import Stream, clock_problems
from mmcfusion_ros.tools.patient import STREAMS, Patient

PARAMETERS = ("use_sim_time", "pairing.slop", "pairing.thermal_offset")
IMAGE_TYPES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}
ALONE = {"RGB_ONLY": "RGB", "THERMAL_ONLY": "thermal"}
UNUSABLE = {  # reason of a drop: what to do
    "bad_encoding": "have the camera send an encoding that the README lists",
    "bad_size": "the message contradicts itself or is too large: see what size the driver is set to",
    "bad_data": "see whether the driver or the network damages it, and whether the raw images are good",
    "no_key_frame": "have the encoder send a key frame every second, without B-frames",
}
NEXT_STEP = {"unconfigured": "configure", "inactive": "activate"}


@dataclass(frozen=True)
class Finding:
    """What is wrong, and how to put it right."""

    problem: str
    fix: str


def run_doctor(name: str, namespace: str, seconds: float) -> bool:
    """Prints the findings; True if there are none."""
    rclpy.init()
    node = Node("mmcfusion_doctor", enable_rosout=False)
    try:
        patient = Patient(node, name, namespace)
        findings = examine(patient, seconds)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    for finding in findings:
        print(f"PROBLEM  {finding.problem}\n  FIX    {finding.fix}")
    if not findings:
        print(f"OK       {patient.full_name} published {patient.new('fused')} fused images: {patient.message}")
    return not findings


def examine(patient: Patient, seconds: float) -> list[Finding]:
    """Looks on for some seconds; no finding means that fused images come out and are heard."""
    if not patient.is_there():
        return [_absent(patient)]
    state = patient.state()
    if not state:
        return [Finding(f"{patient.full_name} does not answer", "look at its log; if it hangs, kill and restart it")]
    if state != "active":
        patient.listen(1.0)
        return [_not_active(patient, state)]
    patient.ask_parameters(PARAMETERS)
    if not patient.tells_its_topics(seconds + 2.0):
        return [Finding(f"{patient.full_name} is active but says nothing on /diagnostics", "look at its log")]
    patient.observe(seconds)
    if not patient.is_there():
        return [_absent(patient)]
    well = patient.new("fused") and patient.mode not in ALONE
    return _clock_findings(patient) + (_unheard_output(patient) if well else _alone(patient) + _causes(patient))


def _absent(patient: Patient) -> Finding:
    names = sorted(f"{space.rstrip('/')}/{name}" for name, space in patient.node.get_node_names_and_namespaces())
    domain = patient.node.context.get_domain_id()
    problem = f"there is no node {patient.full_name} in domain {domain}"
    if namesakes := [name for name in names if name.endswith("/mmcfusion")]:
        return Finding(problem, f"there is {', '.join(namesakes)}: give its --namespace and --name")
    fix = "start it: ros2 launch mmcfusion_ros fusion.launch.py; or set ROS_DOMAIN_ID to its domain"
    others = sorted(domains_of_fusion_nodes() - {domain})
    return Finding(problem, f"{fix} (on this machine: {', '.join(map(str, others))})" if others else fix)


def domains_of_fusion_nodes() -> set[int]:
    """As the processes on this machine say in their environment, as far as this user may read it."""
    domains = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if re.search(rb"fusion_(node|process)\0", (process / "cmdline").read_bytes()):
                found = re.search(rb"(?:^|\0)ROS_DOMAIN_ID=(\d+)", (process / "environ").read_bytes())
                domains.add(int(found[1]) if found else 0)
    return domains


def owners_of_shared_memory(folder: Path = Path("/dev/shm")) -> set[str]:
    """The users whose processes have shared memory of Fast DDS: they must be one, or images are lost."""
    owners = set()
    for file in folder.glob("fast*"):
        with suppress(OSError, KeyError):  # gone meanwhile; a user without a name
            owners.add(file.owner())
    return owners


def _not_active(patient: Patient, state: str) -> Finding:
    why = f"; it said: {patient.logs[-1]}" if patient.logs else ""
    step = NEXT_STEP.get(state)
    fix = f"ros2 lifecycle set {patient.full_name} {step}" if step else "restart it"
    return Finding(f"{patient.full_name} is {state}, not active{why}", f"fix that, then: {fix}" if why else fix)


def _causes(patient: Patient) -> list[Finding]:
    findings = [finding for stream in STREAMS for finding in _input_findings(patient, stream)]
    findings = (
        findings
        or _lens_findings(patient)
        or _stamp_findings(patient)
        or _skew_findings(patient)
        or _frozen_findings(patient)
    )
    return findings or [_unexplained(patient)]


def _alone(patient: Patient) -> list[Finding]:
    if patient.mode not in ALONE:
        return []
    camera, mode = ALONE[patient.mode], patient.mode
    problem = f"the node runs on one camera: only {camera} images are published, not fused (mode {mode})"
    return [Finding(problem, "fix what follows; fusion then resumes by itself")]


def _input_findings(patient: Patient, stream: Stream) -> list[Finding]:
    heard = patient.inputs[stream]
    publishers = patient.node.get_publishers_info_by_topic(heard.topic)
    if not publishers:
        return [_no_publisher(patient, stream, heard.topic)]
    subscriptions = filter(patient.owns, patient.node.get_subscriptions_info_by_topic(heard.topic))
    if unheard := [
        finding for s in subscriptions for p in publishers for finding in _unheard(stream, heard.topic, p, s)
    ]:
        return unheard
    if not heard.behind_ns:
        fix = (
            f"see whether {', '.join(map(_who, publishers))} sends; large images need config/fastdds.xml on both sides"
        )
        if len(owners := owners_of_shared_memory()) > 1:
            fix += f"; run driver and node as one user, not as {' and '.join(sorted(owners))}"
        return [Finding(f"no message comes on {heard.topic}, though it has a publisher", fix)]
    if heard.problem:
        return [Finding(f"images on {heard.topic} cannot be used: {heard.problem}", UNUSABLE[heard.problem.reason])]
    return []


def _no_publisher(patient: Patient, stream: Stream, topic: str) -> Finding:
    others = _published_by_others(patient, IMAGE_TYPES)
    fix = f"start the driver of the {stream} camera, or remap {stream}/image_raw"
    return Finding(f"nobody publishes {topic}", f"{fix} to one of {', '.join(others)}" if others else fix)


def _unheard(stream: Stream, topic: str, publisher: Any, subscription: Any) -> list[Finding]:
    if publisher.topic_type != subscription.topic_type:
        problem = f"{_who(publisher)} publishes {publisher.topic_type} on {topic}, not {subscription.topic_type}"
        return [Finding(problem, f"remap {stream}/image_raw, or set {stream}.transport")]
    if reason := _incompatible(publisher.qos_profile, subscription.qos_profile):
        problem = f"QoS mismatch on {topic}: the node cannot hear {_who(publisher)} ({reason})"
        return [Finding(problem, "set qos.input_reliability to best_effort, or change the publisher's QoS")]
    return []


def _lens_findings(patient: Patient) -> list[Finding]:
    """A rig that is calibrated by camera_info, which does not come or cannot be used."""
    findings = []
    for stream, problem in product(STREAMS, patient.message.split("; ")):
        if problem.startswith((f"registration waits for {stream}/camera_info", f"{stream}/camera_info: ")):
            others = ", ".join(_published_by_others(patient, {"sensor_msgs/msg/CameraInfo"}))
            fix = f"have the {stream} driver publish it, or write the lens to registration.file, key {stream}"
            fix += f"; or remap {stream}/camera_info to one of {others}" if others else ""
            findings.append(Finding(problem, fix))
    return findings


def _behind_s(patient: Patient) -> dict[Stream, float]:
    """By how much stamps are behind the node's clock on arrival."""
    return {stream: float(np.median(patient.inputs[stream].behind_ns)) / 1e9 for stream in STREAMS}


def _stamp_findings(patient: Patient) -> list[Finding]:
    offset_s = patient.settings.get("pairing.thermal_offset", 0.0)
    return [Finding(*found) for found in clock_problems(_behind_s(patient), offset_s)]


def _skew_findings(patient: Patient) -> list[Finding]:
    """Frames of one moment arrive together: what their stamps differ by then is the clocks' fault."""
    behind_s = _behind_s(patient)
    offset_s, slop_s = patient.settings.get("pairing.thermal_offset", 0.0), patient.settings.get("pairing.slop", 0.0)
    skew_s = behind_s["thermal"] - behind_s["rgb"] - offset_s
    if abs(skew_s) <= slop_s:
        return []
    problem = f"no pairs: thermal and RGB stamps are {abs(skew_s):.3f} s apart, pairing.slop is {slop_s:g} s"
    fix = f"synchronise the cameras' clocks, or set pairing.thermal_offset to {offset_s + skew_s:.3f} if it is constant"
    return [Finding(problem, fix)]


def _frozen_findings(patient: Patient) -> list[Finding]:
    if (frames := patient.new("thermal_frozen_frames")) <= 0:
        return []
    problem = f"the thermal camera sends the same picture again and again ({frames} of them meanwhile)"
    return [Finding(problem, "a shutter is open again within a second or two; otherwise restart the camera")]


def _unexplained(patient: Patient) -> Finding:
    drops = ", ".join(f"{n} {reason}" for reason, n in patient.new_drops().items()) or "none"
    fix = f"the node said: {patient.logs[-1]}" if patient.logs else "look at the node's log"
    return Finding(f"images arrive but are not fused ({patient.message}); dropped meanwhile: {drops}", fix)


def _clock_findings(patient: Patient) -> list[Finding]:
    if not patient.settings.get("use_sim_time") or len(set(patient.clock_ns)) > 1:
        return []
    publishers = patient.node.get_publishers_info_by_topic("/clock")
    problem = "the time on /clock stands still" if publishers else "nobody publishes /clock"
    fix = "start or unpause the simulator or the bag (with --clock), or set use_sim_time to false"
    return [Finding(f"use_sim_time is set, but {problem}", fix)]


def _unheard_output(patient: Patient) -> list[Finding]:
    """Subscribers that cannot hear the fused images."""
    node, findings = patient.node, []
    fix = "set qos.output_reliability to reliable, or change the subscriber's QoS"
    for topic in _topics(patient, IMAGE_TYPES):
        publishers = filter(patient.owns, node.get_publishers_info_by_topic(topic))
        for own, other in product(publishers, node.get_subscriptions_info_by_topic(topic)):
            if reason := _incompatible(own.qos_profile, other.qos_profile):
                problem = f"QoS mismatch on {topic}: {_who(other)} cannot hear the node ({reason})"
                findings.append(Finding(problem, fix))
    return findings


def _topics(patient: Patient, kinds: set[str]) -> list[str]:
    return sorted(topic for topic, types in patient.node.get_topic_names_and_types() if kinds & set(types))


def _published_by_others(patient: Patient, kinds: set[str]) -> list[str]:
    publishers = patient.node.get_publishers_info_by_topic
    return [topic for topic in _topics(patient, kinds) if not all(map(patient.owns, publishers(topic)))]


def _incompatible(publisher: QoSProfile, subscriber: QoSProfile) -> str:
    compatibility, reason = qos_check_compatible(publisher, subscriber)
    return str(reason).strip().rstrip(";") if compatibility == QoSCompatibility.ERROR else ""


def _who(endpoint: Any) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
