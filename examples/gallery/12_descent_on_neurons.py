"""
Is it curvature, or descent on neurons?
=======================================

"""
