"""The paper's evidence: its systems, tables and claims, trained, measured and judged.

Reference:
    Xu et al., "Synergy Between Semantic Segmentation and Image Denoising via Alternate Boosting",
    https://arxiv.org/abs/2102.12095
"""
