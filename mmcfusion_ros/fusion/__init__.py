from mmcfusion_ros.fusion.fuser import Fuser

__all__ = ["Fuser"]
