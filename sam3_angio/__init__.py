"""SAM 3 fine-tuned on coronary angiograms: vessels, named segments, lesions and QCA.

Research use only. Not a medical device.
"""

__version__ = "0.1.0"
