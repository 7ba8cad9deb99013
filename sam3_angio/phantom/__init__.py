"""A simulator of coronary angiography with the whole truth known.

``heart`` grows a coronary tree, ``lesion`` narrows it, ``xray`` projects it, ``run`` films it while
contrast flows in and the heart beats, ``labels`` keeps the truth of the analysed frames, and
``dataset`` writes all of it in the shape of a site's export.
"""
